"""What the scripts of tools/ and benchmarks/ share: where the repository is, and how JSON is stored."""

import json
from pathlib import Path
from typing import Any

from recformer_utils.runs.files import replacing
from recformer_utils.runs.record import machine

__all__ = ["REPOSITORY", "machine", "write_json"]

REPOSITORY = Path(__file__).resolve().parents[1]


def write_json(path: Path, content: Any) -> None:
    """Stores a value as indented JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=0o644) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
