"""The reader of MovieLens' files: what it accepts, what it refuses and in which words."""

import os
import pickle
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recformer_utils import movielens
from recformer_utils.formats.columns import MOVIE_COLUMNS, USER_COLUMNS
from recformer_utils.formats.files import FILES, read_listing, read_ratings
from recformer_utils.movielens import (
    MovieLens,
    MovieLensFormatError,
    MovieLensNotFoundError,
    from_interactions,
    load_movielens,
    read_movielens_files,
)
from recformer_utils.training import load_checkpoint, load_config

USERS = b"1::F::1::10::48067\n2::M::56::16::02460\n7::M::25::0::98107-2117\n"
MOVIES = (
    b"1::Toy Story (1995)::Animation|Children's|Comedy\n"
    b"5::Caf\xe9: After Dark (1999)::Drama\n"
    b"9::Vertigo (1958)::Thriller\n"
)
RATINGS = (
    b"1::5::3::978300760\n1::1::5::978300760\n7::1::1::956703932\n2::5::4::1046454590\n2::1::2::0\n"
)


def write(folder: Path, users=USERS, movies=MOVIES, ratings=RATINGS) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / file for file in FILES]
    for path, content in zip(paths, (users, movies, ratings), strict=True):
        path.write_bytes(content)
    return paths


DTYPES = [
    {
        "user_id": np.int32, "sex": "category", "age_group": "category",
        "occupation": "category", "zip_code": str,
    },
    {"movie_id": np.int32, "title": str, "genres": str},
    {"user_id": np.int32, "movie_id": np.int32, "rating": np.int8, "unix_timestamp": np.int32},
]  # fmt: skip


def read_as_the_post_does(folder: Path) -> list[pd.DataFrame]:
    options = {"sep": "::", "encoding": "ISO-8859-1", "engine": "python"}
    return [
        pd.read_csv(folder / file, names=list(dtypes), dtype=dtypes, **options)
        for file, dtypes in zip(FILES, DTYPES, strict=True)
    ]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A sample, no data/ml-1m, no RECFORMER_DATA: what a fresh clone looks like."""
    write(tmp_path / "sample")
    monkeypatch.setattr(movielens, "SAMPLE_FOLDER", tmp_path / "sample")
    monkeypatch.setattr(movielens, "ML_1M_FOLDER", tmp_path / "ml-1m")
    monkeypatch.delenv("RECFORMER_DATA", raising=False)
    return tmp_path


# --- what is read ---------------------------------------------------------------------------------


def test_frames_equal_those_of_the_post(tmp_path):
    """Same columns, dtypes, categories and index as pandas' Python engine gives."""
    for ours, post in zip(
        read_movielens_files(*write(tmp_path)), read_as_the_post_does(tmp_path), strict=True
    ):
        pd.testing.assert_frame_equal(ours, post, check_index_type="exact")
        assert isinstance(ours.index, pd.RangeIndex)


def test_line_ends_of_windows_and_a_missing_last_one_change_nothing(tmp_path):
    plain = read_movielens_files(*write(tmp_path))
    for changed in (
        [content.replace(b"\n", b"\r\n") for content in (USERS, MOVIES, RATINGS)],
        [content[:-1] for content in (USERS, MOVIES, RATINGS)],
    ):
        for ours, expected in zip(
            read_movielens_files(*write(tmp_path, *changed)), plain, strict=True
        ):
            pd.testing.assert_frame_equal(ours, expected)


@pytest.mark.parametrize(
    "title",
    ["NA", "nan", '"Great Performances" Cats (1998)', '"', "2001: A", " a ", "#", "a,b", "a:"],
)
def test_titles_are_taken_literally(tmp_path, title):
    path = tmp_path / "movies.dat"
    path.write_bytes(f"3::{title}::Drama\n4::{title}::NA\n".encode("iso-8859-1"))
    movies = read_listing(path, MOVIE_COLUMNS)
    # A colon before the separator cannot be told from one after it: the first pair splits.
    if title == "a:":
        assert movies["title"].tolist() == ["a", "a"]
        assert movies["genres"].tolist() == [":Drama", ":NA"]
    else:
        assert movies["title"].tolist() == [title, title]
        assert movies["genres"].tolist() == ["Drama", "NA"]


# --- what is refused ------------------------------------------------------------------------------

LARGE = "2147483648"
BAD_LINES = [
    # file, its second line, what was found, what was expected
    ("users.dat", b"2::M::56::16", "4 fields in '2::M::56::16'", "user_id::sex::age_group"),
    ("users.dat", b"2::M::56::16::", "zip_code ''", "some text"),
    ("users.dat", b"x::M::56::16::02460", "user_id 'x'", "a whole number from 0 to 2147483647"),
    ("users.dat", b"-2::M::56::16::02460", "user_id '-2'", "a whole number from 0"),
    ("users.dat", b"2::m::56::16::02460", "sex 'm'", "one of F, M"),
    ("users.dat", b"2::M::55::16::02460", "age_group '55'", "one of 1, 18, 25, 35, 45, 50, 56"),
    ("users.dat", b"2::M::56::21::02460", "occupation '21'", "a whole number from 0 to 20"),
    ("users.dat", b"1::M::56::16::02460", "user_id 1 again, as in line 1", "only once"),
    ("movies.dat", b"5::Dark (1999)", "2 fields in '5::Dark (1999)'", "movie_id::title::genres"),
    ("movies.dat", b"5:: ::Drama", "title ' '", "some text"),
    ("movies.dat", b"5.0::Dark (1999)::Drama", "movie_id '5.0'", "a whole number from 0"),
    ("movies.dat", b"1::Dark (1999)::Drama", "movie_id 1 again, as in line 1", "only once"),
    ("movies.dat", "5::Café (1999)::Drama".encode(), "UTF-8 text, '5::Café", "ISO-8859-1 text"),
    ("movies.dat", b"5::Caf\x92 (1999)::Drama", "control character 0x92 at column 7", "ISO-8859-1"),
    ("movies.dat", b"5::Da\rrk (1999)::Drama", "control character 0x0d at column 6", "\\r\\n"),
    ("ratings.dat", b"1::1::5", "3 fields in '1::1::5'", "user_id::movie_id::rating::unix_"),
    ("ratings.dat", b"1:1::5::978300760", "3 fields", "user_id::movie_id::rating::unix_"),
    ("ratings.dat", b"1::1::5:::978300760", "unix_timestamp ':978300760'", "a whole number"),
    ("ratings.dat", b"1::::5::978300760", "movie_id ''", "a whole number from 0"),
    ("ratings.dat", b"", "a blank line", "user_id::movie_id::rating::unix_"),
    ("ratings.dat", b"1::one::5::978300760", "movie_id 'one'", "a whole number from 0"),
    ("ratings.dat", b"1::1::4.5::978300760", "rating '4.5'", "a whole number from 1 to 5"),
    ("ratings.dat", b"1::-1::5::978300760", "movie_id '-1'", "a whole number from 0"),
    ("ratings.dat", b"1::\xb2::5::978300760", "movie_id '²'", "a whole number from 0"),
    ("ratings.dat", b"1::1::261::978300760", "rating '261'", "a whole number from 1 to 5"),
    ("ratings.dat", f"1::1::5::{LARGE}".encode(), f"unix_timestamp '{LARGE}'", "to 2147483647"),
    ("ratings.dat", b"1::18446744073709551617::5::1", "movie_id '18446744073709551617'", "whole"),
    ("ratings.dat", b"1::" + b"9" * 5000 + b"::5::1", "movie_id '" + "9" * 57 + "...'", "whole"),
    ("ratings.dat", b"3::1::5::978300760", "user_id 3", "a user_id that users.dat lists"),
    ("ratings.dat", b"1::2::5::978300760", "movie_id 2", "a movie_id that movies.dat lists"),
    ("ratings.dat", b"1::5::4::978300761", "user_id 1, movie_id 5 again, as in line 1", "once"),
    ("ratings.dat", b"1,1::5::978300760", "3 fields in '1,1::5", "user_id::movie_id::rating::"),
]


@pytest.mark.parametrize(("file", "line", "found", "expected"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path, file, line, found, expected):
    paths = write(tmp_path)
    path = tmp_path / file
    lines = path.read_bytes().split(b"\n")
    lines[1] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(MovieLensFormatError) as caught:
        read_movielens_files(*paths)
    error = caught.value
    assert (error.file, error.line) == (path, 2)
    assert found in error.found
    assert expected in error.expected
    assert str(error).startswith(f"{path}, line 2: found {error.found}; expected {error.expected}.")
    assert "make data" in str(error)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("damage", "line", "found"),
    [
        (lambda raw: b"", 1, "an empty file"),
        (lambda raw: b"\r\n", 1, "a blank line"),
        (lambda raw: raw + b"\n", -1, "a blank line"),
        (lambda raw: raw[: raw.rindex(b"::")], -2, " fields in "),
        (lambda raw: raw[:-1] + b"\r", -2, "the control character 0x0d"),
        (lambda raw: b"\xef\xbb\xbf" + raw, 1, "UTF-8 text (a byte order mark)"),
        (lambda raw: raw.decode("latin-1").encode("utf-16-le"), 1, "the control character 0x00"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, file, damage, line, found):
    paths = write(tmp_path)
    path = tmp_path / file
    raw = path.read_bytes()
    path.write_bytes(damage(raw))
    with pytest.raises(MovieLensFormatError) as caught:
        read_movielens_files(*paths)
    # Counted from the end, -1 is the line after the file's last.
    assert caught.value.line == (line if line > 0 else raw.count(b"\n") + 2 + line)
    assert found in caught.value.found
    assert caught.value.file == path


def test_a_file_cut_off_at_any_byte_is_refused_or_ends_with_a_whole_number(tmp_path):
    """Cut in a timestamp, a file cannot be told from a whole one; cut elsewhere, it is refused."""
    path = tmp_path / "ratings.dat"
    for end in range(len(RATINGS)):
        path.write_bytes(RATINGS[:end])
        last_line = RATINGS[:end].split(b"\n")[-1]
        if end and (not last_line or re.fullmatch(rb"\d+::\d+::\d::\d+", last_line)):
            assert len(read_ratings(path)) == len(RATINGS[:end].splitlines())
        else:
            with pytest.raises(MovieLensFormatError):
                read_ratings(path)


def test_ratings_alone_are_read_with_any_ids(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_bytes(b"2147483647::0::5::2147483647\n007::8::1::0\n")
    assert read_ratings(path).to_numpy().tolist() == [[2**31 - 1, 0, 5, 2**31 - 1], [7, 8, 1, 0]]


READERS = [partial(read_listing, columns=USER_COLUMNS), read_ratings]


@pytest.mark.parametrize("read", READERS, ids=["users", "ratings"])
def test_a_missing_file_says_how_to_get_it(tmp_path, read):
    with pytest.raises(MovieLensNotFoundError, match=r"absent\.dat: found nothing.*make data"):
        read(tmp_path / "absent.dat")
    with pytest.raises(MovieLensNotFoundError, match=r"found a folder"):
        read(tmp_path)


def test_the_error_survives_a_worker_process():
    error = MovieLensFormatError("a.dat", 3, "x", "y")
    again = pickle.loads(pickle.dumps(error))
    assert (again.file, again.line, again.found, again.expected) == (Path("a.dat"), 3, "x", "y")
    assert str(again) == str(error)


# --- where the data are looked for ----------------------------------------------------------------


def test_auto_falls_back_to_the_sample_and_says_so(places):
    data = load_movielens()
    assert data.name == "sample"
    assert data.folder == places / "sample"
    assert str(data) == ("the embedded sample (invented): 3 users, 3 movies (2 rated), 5 ratings")
    assert repr(data) == "MovieLens(name='sample')"


def test_ml_1m_comes_from_the_environment_then_from_data(places, monkeypatch):
    write(places / "elsewhere")
    monkeypatch.setenv("RECFORMER_DATA", str(places / "elsewhere"))
    for name in ("auto", "ml-1m"):
        data = load_movielens(name)
        assert (data.name, data.folder) == ("ml-1m", places / "elsewhere")
        assert str(data).startswith("folder 'elsewhere' (not the whole of MovieLens-1M): 3 users")
    assert load_movielens("sample").folder == places / "sample"
    write(places / "ml-1m")
    assert load_movielens("auto").folder == load_movielens("ml-1m").folder == places / "ml-1m"


def test_a_path_is_taken_as_text_or_path(places, monkeypatch):
    write(places / "mine")
    monkeypatch.chdir(places)
    for name in ("mine", places / "mine", "./mine/"):
        data = load_movielens(name)
        assert (data.name, data.folder) == ("mine", places / "mine")
        assert str(places) not in repr(data) + str(data)
    monkeypatch.setattr(movielens, "ML_1M_COUNTS", (3, 3, 5))
    assert str(load_movielens("mine")) == "MovieLens-1M: 3 users, 3 movies (2 rated), 5 ratings"


def test_fields_are_given_by_name():
    with pytest.raises(TypeError):
        MovieLens("mine")


def test_ml_1m_missing_names_both_places_and_both_ways(places, monkeypatch):
    monkeypatch.setenv("RECFORMER_DATA", "")  # an empty variable is an unset one
    with pytest.raises(MovieLensNotFoundError) as caught:
        load_movielens("ml-1m")
    for part in ("data/ml-1m", "RECFORMER_DATA", "make data", "grouplens.org/datasets"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["auto", "ml-1m"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_wrong_recformer_data_is_an_error(places, monkeypatch, name, exists):
    folder = places / "typo"
    if exists:
        folder.mkdir()
        (folder / "users.dat").write_bytes(USERS)
    monkeypatch.setenv("RECFORMER_DATA", str(folder))
    found = "no movies.dat, no ratings.dat" if exists else "no such folder"
    with pytest.raises(MovieLensNotFoundError, match=f"typo: found {found}.*RECFORMER_DATA"):
        load_movielens(name)


def test_an_incomplete_download_is_an_error_not_a_fallback(places):
    write(places / "ml-1m")
    (places / "ml-1m" / "ratings.dat").unlink()
    with pytest.raises(MovieLensNotFoundError, match=r"found no ratings\.dat.*make data"):
        load_movielens("auto")
    (places / "ml-1m" / "users.dat").unlink()
    (places / "ml-1m" / "movies.dat").unlink()
    assert load_movielens("auto").name == "sample"  # an empty folder holds nothing to complete


def test_an_unknown_name_and_a_missing_sample_are_errors(places, monkeypatch):
    with pytest.raises(MovieLensNotFoundError, match=r'ml-2m: found no such folder.*"ml-1m"'):
        load_movielens("ml-2m")
    monkeypatch.setattr(movielens, "SAMPLE_FOLDER", places / "absent")
    with pytest.raises(MovieLensNotFoundError, match=r"make_sample\.py"):
        load_movielens("auto")


def test_the_embedded_sample_passes_every_check(monkeypatch):
    monkeypatch.delenv("RECFORMER_DATA", raising=False)
    data = load_movielens("sample")
    assert data.folder == Path(__file__).resolve().parents[1] / "data" / "sample"
    assert str(data).startswith("the embedded sample (invented): ")
    assert data.users["user_id"].isin(data.ratings["user_id"]).all()
    assert sorted(data.ratings["rating"].unique()) == [1, 2, 3, 4, 5]


# --- MovieLens-1M itself --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ml_1m():
    try:
        return load_movielens("ml-1m")
    except MovieLensNotFoundError as error:
        if "not set" in str(error):
            pytest.skip("MovieLens-1M is neither in data/ml-1m nor named by RECFORMER_DATA")
        raise


@pytest.mark.realdata
def test_known_facts_of_movielens_1m(ml_1m):
    assert str(ml_1m) == (
        "MovieLens-1M: 6,040 users, 3,883 movies (3,706 rated), 1,000,209 ratings"
    )
    stars = ml_1m.ratings["rating"].value_counts().sort_index()
    assert stars.tolist() == [56_174, 107_557, 261_197, 348_971, 226_310]
    timestamps = ml_1m.ratings["unix_timestamp"]
    assert (timestamps.min(), timestamps.max()) == (956703932, 1046454590)
    assert ml_1m.ratings.iloc[0].tolist() == [1, 1193, 5, 978300760]
    assert ml_1m.ratings["user_id"].is_monotonic_increasing  # the original file's order
    titles = ml_1m.movies.set_index("movie_id")["title"]
    assert titles[73] == "Misérables, Les (1995)"
    assert titles[1320] == "Alien³ (1992)"


@pytest.mark.realdata
def test_movielens_1m_equals_the_reading_of_the_post(ml_1m):
    post = read_as_the_post_does(ml_1m.folder)
    for ours, theirs in zip((ml_1m.users, ml_1m.movies, ml_1m.ratings), post, strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_index_type="exact")


@pytest.mark.realdata
def test_reading_movielens_1m_takes_little_memory(ml_1m):
    """Peak of a fresh process, against the same process before it reads."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux tells the peak of a process without its parent's")
    code = (
        "import re, sys; from pathlib import Path\n"
        "from recformer_utils.movielens import load_movielens\n"
        "status = Path('/proc/self/status')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', status.read_text())[1])\n"
        "before = peak(); load_movielens(sys.argv[1]); print(peak() - before)"
    )
    command = [sys.executable, "-c", code, str(ml_1m.folder)]
    kib = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 20 * 1024 < kib < 400 * 1024  # the file alone has 24 MiB


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_is_called_by_its_name(tmp_path, encoding):
    path = tmp_path / "users.dat"
    path.write_bytes("1::F::1::10::48067\n".encode(encoding))
    name = encoding.upper().removesuffix("-SIG")
    with pytest.raises(MovieLensFormatError, match=f"found {name} text .a byte order mark"):
        read_listing(path, USER_COLUMNS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe with a name")
@pytest.mark.parametrize("name", ["users.dat", "log.csv", "config.yaml", "model.pth"])
def test_pipes_are_refused_without_opening_them(tmp_path, name):
    """To open one would wait for whoever writes into it."""
    path = tmp_path / name
    os.mkfifo(path)
    readers = {
        "users.dat": partial(read_listing, columns=USER_COLUMNS), "log.csv": from_interactions,
        "config.yaml": load_config, "model.pth": load_checkpoint,
    }  # fmt: skip
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"{name}: (found|not) (a|no) .*file"
    ):
        readers[name](path)


def test_recformer_data_may_name_a_folder_in_the_form_of_csv(tmp_path, monkeypatch):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1999),Drama\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,9\n")
    monkeypatch.setattr(movielens, "ML_1M_FOLDER", tmp_path / "none")
    monkeypatch.setenv("RECFORMER_DATA", str(tmp_path))
    assert load_movielens("ml-1m").counts == (1, 1, 1)
