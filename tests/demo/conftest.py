"""The demo, built once for all of its tests, on the embedded sample."""

import pytest

NEEDED = ("onnx", "onnxscript", "onnxruntime", "fontTools")


@pytest.fixture(scope="session")
def demo_tools():
    """The module that builds the demo; the test is skipped where its packages are not there."""
    for name in NEEDED:
        pytest.importorskip(name, reason=f"{name} is not installed: `make test-demo` installs it")
    import demo

    return demo


@pytest.fixture(scope="session")
def sample_demo(demo_tools, tmp_path_factory):
    """The folder of a demo of the sample."""
    from recformer_utils.movielens import load_movielens

    folder = tmp_path_factory.mktemp("demo") / "dist"
    demo_tools.build(folder, load_movielens("sample"))
    return folder


@pytest.fixture(scope="session")
def pretrained(demo_tools):
    """The sample's model in PyTorch."""
    from demo_model import load_pretrained

    from recformer_utils.movielens import load_movielens

    return load_pretrained(load_movielens("sample"))
