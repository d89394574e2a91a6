"""The readers of `::` files (and of CSV, which they refuse), fed with anything."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recformer_utils.formats.columns import (
    MOVIE_COLUMNS,
    RATING_COLUMNS,
    USER_COLUMNS,
    MovieLensFormatError,
    MovieLensNotFoundError,
)
from recformer_utils.formats.files import (
    FILES,
    read_listing,
    read_movielens_files,
    read_ratings,
)
from tests.fuzz.bounds import bounded, damaged

USERS = b"1::F::1::10::48067\n2::M::56::16::70072\n31::M::25::15::55117-2117\n"
MOVIES = "1::Toy Story (1995)::Animation|Children's\n7::Léon (1994)::Drama\n".encode("latin-1")
RATINGS = b"1::7::5::978300760\n1::1::3::978302109\n2::1::4::0\n31::7::1::2147483647\n"
PIECES = [
    b"::", b":", b",", b"\n", b"\r\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a",
    b"99999999999999999999", b"2147483648", b"-1", b"+1", b"1e3", b"0x1", b" 1", b"1 ", b"nan",
    b"1_0", "١".encode(), "Léon".encode(), b'"', b"NA", b"\t", b"\x85", b"1.0", b"true",
    b"userId,movieId,rating,timestamp\n", b"1,7,4.5,978300760\n", b"7,\"Leon, The (1994)\",Drama\n",
]  # fmt: skip
READERS = {
    "users": (partial(read_listing, columns=USER_COLUMNS), USER_COLUMNS, USERS),
    "movies": (partial(read_listing, columns=MOVIE_COLUMNS), MOVIE_COLUMNS, MOVIES),
    "ratings": (read_ratings, RATING_COLUMNS, RATINGS),
}


def read(reader, content: bytes):
    """What the reader made of a file's content: a frame, or its own error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.dat"
        path.write_bytes(content)
        try:
            return reader(path)
        except MovieLensFormatError as error:
            lines = content.replace(b"\r\n", b"\n").count(b"\n") + 1
            assert error.file == path
            assert 1 <= error.line <= lines
            assert f"file.dat, line {error.line}: found" in str(error)
            return None


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_a_file_is_read_whole_or_refused_by_its_line(name, data):
    reader, columns, good = READERS[name]
    content = data.draw(
        st.one_of(damaged([good], PIECES), damaged([good * 3], PIECES), st.binary(max_size=200))
    )
    with bounded(name) as tried:
        frame = read(reader, content)
        tried.refused = frame is None
        if frame is not None:
            check(frame, content, columns)


def check(frame, content: bytes, columns) -> None:
    """The frame holds what the lines say, by plain Python."""
    lines = content.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    assert list(frame.columns) == list(columns)
    assert len(frame) == len(lines)
    assert not frame.isna().to_numpy().any()
    for column, (dtype, allowed) in columns.items():
        assert frame[column].dtype == (
            np.dtype(dtype) if isinstance(dtype, type) and dtype is not str else frame[column].dtype
        )
        if isinstance(allowed, range):
            values = frame[column].astype(np.int64)
            assert values.between(allowed[0], allowed[-1]).all()
    for row, line in zip(frame.astype(str).to_numpy().tolist(), lines, strict=True):
        fields = line.decode("latin-1").split("::")
        assert [f.lstrip("0") or "0" if f.isdigit() else f for f in row] == [
            f.lstrip("0") or "0" if f.isdigit() else f for f in fields
        ]


@given(
    users=damaged([USERS], PIECES), movies=damaged([MOVIES], PIECES),
    ratings=damaged([RATINGS], PIECES), missing=st.sampled_from([*FILES, None, None, None]),
)  # fmt: skip
def test_three_files_fit_together_or_are_refused(users, movies, ratings, missing):
    with bounded("three files") as tried, tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / file for file in FILES]
        for path, content in zip(paths, (users, movies, ratings), strict=True):
            if path.name != missing:
                path.write_bytes(content)
        try:
            frames = read_movielens_files(*paths)
        except MovieLensNotFoundError as error:
            tried.refused = True
            assert missing is not None
            assert missing in str(error)
            return
        except MovieLensFormatError as error:
            tried.refused = True
            assert error.file in paths
            return
        assert missing is None
        assert set(frames[2]["user_id"]) <= set(frames[0]["user_id"])
        assert set(frames[2]["movie_id"]) <= set(frames[1]["movie_id"])
