"""YAML, checkpoints and pictures, fed with anything."""

import io
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from recformer_utils.posters import UnusablePosterError, find_poster
from recformer_utils.runs.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_weights,
)
from recformer_utils.runs.config import ConfigError, RunConfig, load_config, parse_config
from tests.fuzz.bounds import bounded, damaged

CONFIG = (Path(__file__).resolve().parents[2] / "notebooks/configs/pretrained.yaml").read_bytes()
LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n".encode()
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
PIECES = [
    b"\n", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"!!python/object/apply:os.system ",
    b"!!binary ", b"!!set ", b"<<: ", b"? ", b"|\n", b"'", b'"', b"null", b".nan", b"-.inf", b"1e-3",
    b"2001-99-99", b"0o17", b"1_000", b"yes", b"%YAML 1.1\n---\n", b"---\n", b"\t", b"\x00", b"\x85",
    b"0x" + b"f" * 30, b"1" * 5000, b"!!int 9999", b"batch_size: 0\n", b"  num_heads: 3\n",
]  # fmt: skip
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def loaded(content: bytes) -> None:
    with bounded("configuration") as tried, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content)
        try:
            config = load_config(path)
        except ConfigError as error:
            tried.refused = True
            assert str(error).startswith((f"{path}: ", f"{path}, line "))
            assert len(str(error)) < 5000
        else:
            assert isinstance(parse_config(config), RunConfig)


@given(
    content=st.one_of(damaged([CONFIG], PIECES), st.binary(max_size=200), st.text().map(str.encode))
)
@example(content=LAUGHS + b"trainer_config: *j\n")
@example(content=CONFIG.replace(b"batch_size: 512", b"batch_size: &a [*a]"))
@example(content=LAUGHS + CONFIG.replace(b"batch_size: 512", b"batch_size: *j"))
@example(content=b"[" * 3000)
@example(content=b"trainer_config: " + b"{a: " * 1500)
@example(content=b"trainer_config: 2001-99-99\n")
@example(content=b"x: " + b"1" * 5000)
@example(content=b"? [a]\n: b\n")
@example(content=b"")
@example(content=CONFIG.replace(b"sizes: [16]", b"sizes: {'': 1}"))
@example(content=CONFIG.replace(b"rate: 0.005", b"rate: 1" + b"0" * 400))
def test_a_configuration_is_read_or_refused_by_its_file(content):
    loaded(content)


@given(data=st.data())
def test_any_value_under_any_key_is_read_or_refused(data):
    config = yaml.safe_load(CONFIG)
    section = data.draw(st.sampled_from(["trainer_config", "movie_transformer_config", None]))
    place = config[section] if section else config
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(values)
    loaded(yaml.safe_dump(config, allow_unicode=True).encode())


def stored(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(3, 2).state_dict(), buffer, **options)
    return buffer.getvalue()


WEIGHTS, OLD = stored(), stored(_use_new_zipfile_serialization=False)
# Opcodes and names that unpickling could be misled by.
PICKLED = [
    b"cos\nsystem\n", b"\x8c\x05posix\x8c\x06system\x93", b"R", b"\x81", b"b", b"(", b"t", b"}", b"]",
    b"\x80\x02", b".", b"q\x00", b"h\x00", b"K\x01", b"\x8a\xff", b"J\xff\xff\xff\x7f", b"B\xff\xff\xff\xff",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06",
]  # fmt: skip


@st.composite
def repacked(draw) -> bytes:
    """A checkpoint whose members were damaged before their checksums were made."""
    whole, buffer = WEIGHTS, io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            wanted = draw(st.booleans()) if info.filename.endswith("data.pkl") else None
            if wanted or (wanted is None and draw(st.integers(0, 9)) == 0):
                content = draw(damaged([content], PICKLED))
            kind = draw(st.sampled_from([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED]))
            new.writestr(info.filename, content, kind)
    return buffer.getvalue()


@given(
    content=st.one_of(
        damaged([WEIGHTS, OLD], PICKLED), repacked(), repacked(), st.binary(max_size=200)
    )
)
@example(content=WEIGHTS)
@example(content=OLD)
def test_a_checkpoint_is_loaded_whole_or_refused(content):
    with bounded("checkpoint") as tried, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        path.write_bytes(content)
        for reader in (load_checkpoint, lambda p: load_weights(nn.Linear(3, 2), p)):
            try:
                reader(path)
            except CheckpointError as error:
                tried.refused = True
                assert str(error).startswith(f"{path}: ")
        assert os.listdir(folder) == ["model.pth"]


def picture(kind: str, size: tuple[int, int] = (40, 60), **options) -> bytes:
    buffer = io.BytesIO()
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def claims(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and holds a few bytes that unpack to zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(min(10**8, (3 * width + 1) * height)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


PICTURES = [
    picture("JPEG"), picture("PNG"), picture("JPEG", progressive=True), picture("GIF"),
    picture("PNG", optimize=True), picture("BMP"), picture("TIFF"),
]  # fmt: skip
CHUNKS = [b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"IEND", b"\xff\xd8", b"\xff\xc0", b"\xff\xda", b"\xff\xe1\x00\x10Exif\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"]  # fmt: skip


@given(
    content=st.one_of(damaged(PICTURES, CHUNKS), st.binary(max_size=200)),
    suffix=st.sampled_from([".jpg", ".jpeg", ".png"]),
)
@example(content=claims(60_000, 60_000), suffix=".png")
@example(content=claims(2**31 - 1, 2**31 - 1), suffix=".png")
@example(content=claims(6_000, 6_000), suffix=".png")
@example(content=claims(6_300, 6_300), suffix=".png")
def test_a_picture_is_opened_or_refused_by_its_name(content, suffix):
    with bounded("picture") as tried, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"7{suffix}").write_bytes(content)
        try:
            image = find_poster(7, Path(folder))
        except UnusablePosterError as error:
            tried.refused = True
            assert str(error).startswith(f"7{suffix}: ")
        else:
            assert image.mode == "RGB"
            assert np.asarray(image).shape == (image.height, image.width, 3)
