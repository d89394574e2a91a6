"""The notebooks' kernels come up, or say why not."""

import pytest
from nbval import kernel


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_kernel_that_does_not_answer_is_started_once_more(monkeypatch, failures):
    starts = []

    def start(*arguments, **options):
        starts.append((arguments, options))
        if len(starts) <= failures:
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return "manager", "client"

    monkeypatch.setitem(kernel.start_new_kernel.__globals__, "_start", start)  # of conftest.py
    if failures == 2:
        with pytest.raises(RuntimeError, match="didn't respond"):
            kernel.start_new_kernel(60, "python3", cwd="here")
    else:
        assert kernel.start_new_kernel(60, "python3", cwd="here") == ("manager", "client")
    assert starts == [((60, "python3"), {"cwd": "here"})] * min(failures + 1, 2)
