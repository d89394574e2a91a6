"""The CSV form of the larger MovieLens sets: what it gives, what it refuses, how much memory it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.made_up import write_csv
from recformer_utils.formats import files as csv
from recformer_utils.formats.files import RATING_COLUMNS, read_movies_csv, read_ratings_csv
from recformer_utils.movielens import MovieLensFormatError, MovieLensNotFoundError, load_movielens
from recformer_utils.runs.record import data_hashes
from recformer_utils.training import get_dataset, load_config

MOVIES = (
    "movieId,title,genres\n"
    "1,Toy Story (1995),Adventure|Animation\n"
    '11,"American President, The (1995)",Comedy|Drama\n'
    '292757,"Amélie ""Poulain"" (2001)",(no genres listed)\n'
)
RATINGS = (
    "userId,movieId,rating,timestamp\n"
    "1,1,4.0,944249077\n"
    "1,292757,0.5,944250228\n"
    "200948,11,2.5,1294796132\n"
    "200948,1,5.0,1294796132\n"
)
HALF_STARS_UP = [4, 1, 3, 5]


def write(folder: Path, movies: str = MOVIES, ratings: str = RATINGS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "movies.csv").write_bytes(movies.encode())
    (folder / "ratings.csv").write_bytes(ratings.encode())
    return folder


def as_csv(folder: Path) -> Path:
    """The embedded sample in the CSV form."""
    data = load_movielens("sample")
    movies = data.movies.rename(columns={"movie_id": "movieId"})
    ratings = data.ratings.rename(
        columns={"user_id": "userId", "movie_id": "movieId", "unix_timestamp": "timestamp"}
    )
    ratings["rating"] = ratings["rating"].astype(float)
    folder.mkdir(exist_ok=True)
    movies.to_csv(folder / "movies.csv", index=False)
    ratings.to_csv(folder / "ratings.csv", index=False)
    return folder


def test_frames_have_the_columns_and_types_of_the_other_form(tmp_path):
    data, sample = load_movielens(write(tmp_path / "ml-32m")), load_movielens("sample")
    assert data.name == "ml-32m"
    for ours, theirs in ((data.movies, sample.movies), (data.ratings, sample.ratings)):
        assert ours.dtypes.to_dict() == theirs.dtypes.to_dict()
    assert list(data.users) == list(sample.users)
    assert data.users["user_id"].tolist() == [1, 200948]
    assert data.users["user_id"].dtype == np.int32
    for column in ("sex", "age_group", "occupation"):
        assert data.users[column].isna().all()
        assert (
            data.users[column].cat.categories.tolist()
            == sample.users[column].cat.categories.tolist()
        )
    assert data.ratings["rating"].tolist() == HALF_STARS_UP
    assert data.ratings["movie_id"].tolist() == [1, 292757, 11, 1]
    assert data.movies["title"].tolist()[1:] == [
        "American President, The (1995)",
        'Amélie "Poulain" (2001)',
    ]
    assert str(data) == "folder 'ml-32m': 2 users, 3 movies (3 rated), 4 ratings"


@pytest.mark.parametrize("block_bytes", [1, 40, 1 << 20])
def test_blocks_may_end_anywhere(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    for ratings in (RATINGS, RATINGS.replace("\n", "\r\n"), RATINGS.rstrip("\n")):
        read = read_ratings_csv(write(tmp_path, ratings=ratings) / "ratings.csv")
        assert read["rating"].tolist() == HALF_STARS_UP
        assert read["unix_timestamp"].tolist()[-2:] == [1294796132] * 2


def test_whole_stars_without_a_point_are_read_too(tmp_path):
    folder = write(tmp_path, ratings=RATINGS.replace("4.0", "4").replace("0.5", "1.5"))
    assert read_ratings_csv(folder / "ratings.csv")["rating"].tolist() == [4, 2, 3, 5]


BAD_RATINGS = {
    "1,1,4.0,944249077": [
        ("1,1,4.0", "line 2: found 3 fields"),
        ("1,1,0.0,9", "found rating '0.0'; expected half stars from 0.5 to 5.0"),
        ("1,1,5.5,9", "found rating '5.5'"),
        ("1,1,4.3,9", "found rating '4.3'"),
        ("1,1,4.05,9", "found rating '4.05'"),
        ("1,1,4.00,9", "found rating '4.00'"),
        ("1,,4.0,9", "found movie_id ''; expected a whole number"),
        ("-1,1,4.0,9", "found user_id '-1'"),
        ("1,1,4.0,4294967296", "found unix_timestamp '4294967296'"),
        ("1,1,4.0,99999999999999999999", "found unix_timestamp '99999999999999999999'"),
        ("1,1.0,4,9", "found movie_id '1.0'"),
        ("1,7,4.0,9", "line 2: found movie_id 7; expected a movie_id that movies.csv lists"),
        ("200948,1,4.0,9", "line 5: found user_id 200948, movie_id 1 again, as in line 2"),
        ("", "line 2: found a blank line"),
    ],
    "userId,movieId,rating,timestamp": [
        ("user,movie,rating,timestamp", "line 1: found 'user,movie,rating,timestamp'; expected the")
    ],
}


@pytest.mark.parametrize("block_bytes", [24, 1 << 20])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(old, *case) for old, cases in BAD_RATINGS.items() for case in cases],
)
def test_a_bad_rating_is_named_with_its_line(tmp_path, monkeypatch, old, new, message, block_bytes):
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    folder = write(tmp_path, ratings=RATINGS.replace(old, new))
    with pytest.raises(MovieLensFormatError) as refused:
        load_movielens(folder)
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(folder / "ratings.csv"))
    assert "make data" not in str(refused.value)


@pytest.mark.parametrize(
    ("movies", "message"),
    [
        (MOVIES.replace("movieId", "id"), "line 1: found 'id,title,genres'"),
        (MOVIES.replace("1,Toy Story (1995)", "1,Toy, Story"), "line 2: found 4 fields"),
        (MOVIES.replace("Toy Story (1995)", " "), "line 2: found title ' '; expected some text"),
        (MOVIES.replace("11,", "x,"), "line 3: found movie_id 'x'"),
        (MOVIES.replace("\n11,", "\n1,"), "line 3: found movie_id 1 again, as in line 2"),
        (MOVIES.replace('Poulain"" (2001)"', 'Poulain"" (2001)'), "found invalid CSV"),
        ("movieId,title,genres\n", "found no movie"),
        ("", "found no movie"),
    ],
)
def test_a_bad_movie_is_named_with_its_line(tmp_path, movies, message):
    with pytest.raises(MovieLensFormatError) as refused:
        read_movies_csv(write(tmp_path, movies=movies) / "movies.csv")
    assert message in str(refused.value)


def test_other_encodings_and_missing_files_are_named(tmp_path):
    folder = write(tmp_path)
    (folder / "movies.csv").write_bytes(MOVIES.encode("latin-1"))
    with pytest.raises(MovieLensFormatError, match="found the byte e9; expected UTF-8 text"):
        load_movielens(folder)
    (folder / "movies.csv").unlink()
    with pytest.raises(MovieLensNotFoundError, match=r"or with movies\.csv and ratings\.csv"):
        load_movielens(folder)
    write(folder, ratings="userId,movieId,rating,timestamp\n")
    with pytest.raises(MovieLensFormatError, match="found no rating"):
        load_movielens(folder)


def test_the_same_data_in_either_form_is_the_same_to_a_training(tmp_path):
    folder, sample = as_csv(tmp_path / "as-csv"), load_movielens("sample")
    data = load_movielens(folder)
    pd.testing.assert_frame_equal(data.ratings, sample.ratings)
    pd.testing.assert_frame_equal(data.movies, sample.movies)
    assert data.counts == sample.counts
    configuration = Path(__file__).parents[1] / "notebooks/configs/pretrained_sample.yaml"
    config = load_config(configuration)
    windows = []
    for each in (folder, sample.folder):  # the one switch
        config["trainer_config"]["data_dir"] = str(each)
        windows.append(get_dataset(config))
    for ours, theirs in zip(windows[0].windows, windows[1].windows, strict=True):
        assert ours.equal(theirs)
    assert set(data_hashes(folder)) == {"movies.csv", "ratings.csv"}


def test_files_of_the_other_form_go_first(tmp_path):
    folder = write(tmp_path)
    for file in ("users.dat", "movies.dat", "ratings.dat"):
        (folder / file).write_bytes((load_movielens("sample").folder / file).read_bytes())
    assert load_movielens(folder).counts == load_movielens("sample").counts


MEASURE = """
import json, sys, time
from benchmarks.measure import peak_mib, size_now_mib
from recformer_utils.movielens import load_movielens
before, started = size_now_mib(), time.perf_counter()
data = load_movielens(sys.argv[1])
print(json.dumps([len(data.ratings), before, peak_mib(), time.perf_counter() - started]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a stage is read from /proc")
def test_memory_grows_so_that_movielens_32m_stays_far_below_4_gib(tmp_path):
    """A million and three million rows: what a further row takes, and from it what 32 million do."""
    peaks = {}
    for rows in (1_000_000, 3_000_000):
        write_csv(tmp_path, rows)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path)],
            capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
        found, _, peaks[rows], _ = json.loads(done.stdout)
        assert found == rows
    a_row = (peaks[3_000_000] - peaks[1_000_000]) * 2**20 / 2_000_000
    kept = sum(np.dtype(dtype).itemsize for dtype, _ in RATING_COLUMNS.values())
    assert kept == 13 < a_row < 64
    assert peaks[3_000_000] + a_row * (32_000_204 - 3_000_000) / 2**20 < 4 * 1024


def test_bytes_that_are_no_utf_8_are_named_with_their_line(tmp_path):
    (tmp_path / "movies.csv").write_bytes(
        "movieId,title,genres\n1,A (1999),Drama\n2,B (1999),Drama\n3,Amélie (2001),Comedy\n".encode(
            "latin-1"
        )
    )
    with pytest.raises(MovieLensFormatError, match=r"movies\.csv, line 4: found the byte e9"):
        read_movies_csv(tmp_path / "movies.csv")
