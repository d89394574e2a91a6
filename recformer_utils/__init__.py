"""Support module of the recformer notebooks; see README.md for the order in which to read it."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# `pip install .` puts the sample beside the module; what is downloaded then goes to ./data.
SAMPLE_FOLDER = _HERE / "sample" if (_HERE / "sample").is_dir() else _HERE.parent / "data/sample"
ROOT = Path.cwd() if SAMPLE_FOLDER.parent == _HERE else _HERE.parent
