"""How many inputs: 60 a test (more than 500 in all), with --hypothesis-profile=nightly 2,500 (tables: 5,000)."""

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz import bounds

SLOW_IS_FINE = {
    "deadline": None,  # bounds.bounded has its own, which a busy machine does not reach
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "print_blob": True,
}
settings.register_profile("normal", max_examples=60, **SLOW_IS_FINE)
settings.register_profile("nightly", max_examples=2500, **SLOW_IS_FINE)
settings.load_profile("normal")


@pytest.fixture(autouse=True)
def _memory():
    """What the tests here take beyond the imports is limited to a gigabyte."""
    with bounds.memory(2**30):
        yield
