"""A table of the reader's own: ids come back, times are UTC, and nothing wrong goes in silently."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
import torch

from recformer_utils.evaluation import evaluate_ranking
from recformer_utils.formats.own import NO_GENRES
from recformer_utils.movielens import InteractionsError, from_interactions, load_movielens
from recformer_utils.posters import show_posters
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    next_movie_loss,
    training_batches,
)
from recformer_utils.sequences import leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata, movie_features
from recformer_utils.transformer import TransformerConfig


def log(**columns) -> pd.DataFrame:
    rows = {
        "user": ["ann", "bob", "ann", "bob", "ann"],
        "item": ["tea", "pot", "cup", "tea", "pot"],
        "timestamp": [30, 10, 20, 40, 50],
    }
    return pd.DataFrame(rows | columns)


def rows(data) -> list[tuple]:
    """(user, item, rating, time) with the original ids."""
    users = data.users.set_index("user_id")["original_id"]
    items = data.movies.set_index("movie_id")["original_id"]
    ratings = data.ratings
    return list(
        zip(
            users.loc[ratings["user_id"]], items.loc[ratings["movie_id"]],
            ratings["rating"].tolist(), ratings["unix_timestamp"].tolist(), strict=True,
        )
    )  # fmt: skip


def test_rows_come_back_in_order_of_time_with_their_ids():
    data = from_interactions(log())
    assert rows(data) == [
        ("bob", "pot", 5, 10), ("ann", "cup", 5, 20), ("ann", "tea", 5, 30),
        ("bob", "tea", 5, 40), ("ann", "pot", 5, 50),
    ]  # fmt: skip
    assert data.movies["title"].tolist() == ["cup", "pot", "tea"]
    assert set(data.movies["genres"]) == {NO_GENRES}
    assert str(data) == "own data: 2 users, 3 movies (3 rated), 5 ratings"


def test_frames_have_the_types_of_load_movielens():
    data, sample = from_interactions(log()), load_movielens("sample")
    for frame in ("users", "movies", "ratings"):
        ours = getattr(data, frame).drop(columns="original_id", errors="ignore").dtypes
        assert ours.to_dict() == getattr(sample, frame).dtypes.to_dict()


MIXED = [uuid.UUID(int=3), "3", 3, uuid.UUID(int=3), "3"]


@pytest.mark.parametrize(
    "ids",
    [
        [7, 10**12, 7, 10**12, -5],
        ["b", "a", "b", "a", "é"],
        [uuid.UUID(int=i) for i in (9, 4, 9, 4, 2)],
        [1.5, 0.5, 1.5, 0.5, 2.5],
        MIXED,
    ],
    ids=["int", "text", "uuid", "float", "mixed"],
)
def test_ids_of_any_type_come_back(ids):
    items = [ids[place] for place in (4, 4, 1, 0, 0)]  # no pair twice
    data = from_interactions(log(user=ids, item=items, timestamp=range(5)))
    assert [row[:2] for row in rows(data)] == list(zip(ids, items, strict=True))
    if ids is not MIXED:
        assert data.users["original_id"].tolist() == sorted(set(ids))


def test_a_csv_file_keeps_leading_zeros_and_other_column_names(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "when,sku,who,name,kind,stars\n"
        "2026-03-01T10:00:00+02:00,007,1,Tea,Drink,3.5\n"
        "2026-03-01T09:00:00,7,01,Pot,,1\n",
        encoding="utf-8",
    )
    data = from_interactions(
        path, user="who", item="sku", timestamp="when", rating="stars", titles="name", genres="kind"
    )
    at = int(datetime(2026, 3, 1, 8, tzinfo=UTC).timestamp())
    assert rows(data) == [("1", "007", 4, at), ("01", "7", 1, at + 3600)]
    assert data.movies["title"].tolist() == ["Tea", "Pot"]
    assert data.movies["genres"].tolist() == ["Drink", NO_GENRES]


def test_times_with_a_zone_become_utc_and_those_without_are_taken_as_utc():
    noon = datetime(2026, 7, 1, 12)
    utc = int(noon.replace(tzinfo=UTC).timestamp())
    zones = [timezone(timedelta(hours=hours)) for hours in (0, 2, -5)]
    aware = [noon.replace(tzinfo=zone) for zone in zones]
    for times in (
        aware,
        [time.isoformat() for time in aware],
        pd.Series(aware, dtype=object),
    ):
        data = from_interactions(
            pd.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "timestamp": times})
        )
        assert [row[3] - utc for row in rows(data)] == [-2 * 3600, 0, 5 * 3600]
        assert [row[0] for row in rows(data)] == [2, 1, 3]
    for naive in (pd.to_datetime([noon] * 5), [noon.isoformat()] * 5, [utc] * 5, [utc + 0.5] * 5):
        data = from_interactions(log(timestamp=naive))
        assert set(data.ratings["unix_timestamp"]) == {utc}
    berlin = pd.to_datetime([noon] * 5).tz_localize("Europe/Berlin")
    assert from_interactions(log(timestamp=berlin)).ratings["unix_timestamp"][0] == utc - 7200


def test_fractions_of_a_second_decide_the_order_and_equal_times_keep_that_of_the_table():
    times = ["2026-01-01T00:00:00.700Z", "2026-01-01T00:00:00.100Z", "2026-01-01T00:00:00.700Z"]
    frame = pd.DataFrame({"user": "u", "item": ["b", "a", "c"], "timestamp": times})
    assert [row[1] for row in rows(from_interactions(frame))] == ["a", "b", "c"]
    frame["timestamp"] = [1.7e9 + 0.7, 1.7e9 + 0.1, 1.7e9 + 0.7]
    data = from_interactions(frame)
    assert [row[1] for row in rows(data)] == ["a", "b", "c"]
    assert set(data.ratings["unix_timestamp"]) == {1_700_000_000}


def test_repeats():
    frame = log(user="u", item=["tea", "pot", "tea", "tea", "pot"], timestamp=[30, 10, 20, 40, 50])
    assert [row[1::2] for row in rows(from_interactions(frame))] == [("pot", 10), ("tea", 20)]
    last = from_interactions(frame, repeats="last")
    assert [row[1::2] for row in rows(last)] == [("tea", 40), ("pot", 50)]
    with pytest.raises(InteractionsError, match=r"the frame, row 0, column 'item': found an item"):
        from_interactions(frame, repeats="refuse")
    assert len(from_interactions(log(), repeats="refuse").ratings) == 5


def test_titles_by_column_take_the_last_one_given_and_by_mapping_know_the_original_ids():
    by_column = from_interactions(log(name=["Tea", "Pot", None, "Green tea", " "]), titles="name")
    assert by_column.movies["title"].tolist() == ["cup", "pot", "Green tea"]
    mapping = from_interactions(log(), titles={"pot": "A pot"}, genres={"pot": "Kitchen"})
    assert mapping.movies["title"].tolist() == ["cup", "A pot", "tea"]
    assert mapping.movies["genres"].tolist() == [NO_GENRES, "Kitchen", NO_GENRES]


BAD = [
    ({"item": ["tea", None, "cup", "tea", "pot"]}, "row 1, column 'item': found nothing; expected an id"),
    ({"timestamp": ["2026-01-01"] * 4 + ["soon"]}, "row 4, column 'timestamp': found no time ('soon')"),
    ({"timestamp": ["2026-01-01"] * 4 + ["2026-02-30"]}, "found no time ('2026-02-30')"),
    ({"timestamp": [1, 2, 3, np.nan, 5]}, "row 3, column 'timestamp': found nothing"),
    ({"timestamp": [1, 2, -3, 4, 5]}, "row 2, column 'timestamp': found a time out of range"),
    ({"timestamp": [1_700_000_000_000] * 5}, "milliseconds? Divide them by 1000"),
    ({"timestamp": ["3026-01-01"] * 5}, "row 0, column 'timestamp': found a time out of range"),
    ({"stars": [1, 2, 3, 4, 10]}, "row 4, column 'stars': found no rating from 0.5 to 5"),
    ({"stars": [1, 2, "good", 4, 5]}, "row 2, column 'stars': found no rating"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_row_is_named(columns, message, tmp_path):
    rating = "stars" if "stars" in columns else None
    with pytest.raises(InteractionsError) as refused:
        from_interactions(log(**columns), rating=rating)
    assert message in str(refused.value)
    path = tmp_path / "log.csv"
    log(**columns).to_csv(path, index=False)
    with pytest.raises(InteractionsError) as refused:
        from_interactions(path, rating=rating)
    assert str(refused.value).startswith(f"{path}, line ")


def test_a_missing_column_file_or_row_is_named(tmp_path):
    with pytest.raises(InteractionsError) as refused:
        from_interactions(log().rename(columns={"item": "sku"}))
    assert "found no column 'item'; it has 'user', 'sku', 'timestamp'" in str(refused.value)
    with pytest.raises(InteractionsError, match="found no column 'stars'"):
        from_interactions(log(), rating="stars")
    with pytest.raises(InteractionsError, match="found no row"):
        from_interactions(log().head(0))
    with pytest.raises(FileNotFoundError):
        from_interactions(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes(b"")
    with pytest.raises(
        InteractionsError, match=r"log\.csv, line 1: found nothing; expected the names"
    ):
        from_interactions(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("user,item,timestamp\nNA,None,1\n", encoding="utf-8")
    assert rows(from_interactions(tmp_path / "log.csv")) == [("NA", "None", 5, 1)]
    (tmp_path / "log.csv").write_text("user,item,timestamp\na,b,1\n\na,c,2\n")
    with pytest.raises(InteractionsError, match=r"log\.csv, line 3: found 0 fields; expected 3"):
        from_interactions(tmp_path / "log.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1193,5,978300760\n2,661,3,978302109\n", "line 2: found 4 fields; expected 3"),
        ("1,1193,978300760\n2,661\n", "line 3: found 2 fields; expected 3"),
        ('1,"a\nb",978300760\n2,661\n', "line 4: found 2 fields"),
        (
            "1,2,978300760\n1,3,978300761\n1,4,oops\n",
            "line 4, column 'timestamp': found no time ('o",
        ),
        (
            "1,2,978300760\n1,3,2024-01-05\n",
            "line 3, column 'timestamp': found a date among numbers",
        ),
        ("1,2,2024-13-01\n1,3,978300761\n", "line 2, column 'timestamp': found no time ('2"),
        ("1,2,now\n", "found no time ('now')"),
        ("1,2,today\n", "found no time ('today')"),
        ("1,2,True\n", "found no time ('True')"),
        ("1,2,20240105\n1,3,20240106\n", "found a date without its dashes"),
        ("1,2,45292\n1,3,45293\n", "found what may be days since 1900"),
        ("1,2,1700000000\n1,3,19676\n", "line 3, column 'timestamp': found another unit"),
    ],
)
def test_a_file_is_read_field_by_field(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,timestamp\n{text}")
    with pytest.raises(InteractionsError) as refused:
        from_interactions(path)
    assert message in str(refused.value)


def test_titles_and_genres_of_a_file_are_kept_as_they_are_written(tmp_path):
    path, titles = tmp_path / "log.csv", ["007", "1917", "2.50", "1e5", "NA", "Tea "]
    lines = [f"u,{i},{i + 1},{title},01234" for i, title in enumerate(titles)]
    path.write_text("\n".join(["user,item,timestamp,name,kind", *lines, "u,9,10,,"]) + "\n")
    data = from_interactions(path, titles="name", genres="kind")
    assert data.movies["title"].tolist() == [*titles, "9"]
    assert set(data.movies["genres"]) == {"01234", NO_GENRES}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"timestamp": pd.array([1, 2, None, 4, 5], "Int64")},
            "row 2, column 'timestamp': found no",
        ),
        ({"timestamp": [True] * 5}, "found no time ('True')"),
        ({"stars": pd.array([1, 2, None, 4, 5], "Int64")}, "row 2, column 'stars': found nothing"),
        ({"item": [["tea"]] * 5}, "column 'item': found values that are no ids"),
    ],
)
def test_columns_of_other_kinds_are_refused_in_a_sentence(change, message):
    with pytest.raises(InteractionsError) as refused:
        from_interactions(log(**change), rating="stars" if "stars" in change else None)
    assert message in str(refused.value)


def test_columns_of_other_kinds_are_read_right():
    plain = rows(from_interactions(log()))
    for change in (
        {"user": pd.Categorical(log()["user"])},
        {"item": pd.array(log()["item"], "string")},
        {"timestamp": pd.array(log()["timestamp"], "Int64")},
        {"timestamp": pd.Series(log()["timestamp"].tolist(), dtype=object)},
    ):
        assert rows(from_interactions(log(**change))) == plain
    titles = pd.Series({"pot": "A pot"})
    assert "A pot" in set(from_interactions(log(), titles=titles).movies["title"])


def test_names_of_columns_are_unique_and_of_one_level(tmp_path):
    twice = pd.concat([log(), log()[["item"]]], axis=1)
    with pytest.raises(InteractionsError, match="found 'item' twice"):
        from_interactions(twice)
    with pytest.raises(InteractionsError, match="names of several levels"):
        from_interactions(pd.concat({"a": log()}, axis=1))
    with pytest.raises(ValueError, match="repeats must be"):
        from_interactions(log(), repeats="latest")
    path = tmp_path / "log.csv.gz"
    log().to_csv(path, index=False)
    with pytest.raises(
        InteractionsError, match=r"log\.csv\.gz, line 1: .* expected UTF-8 text, not packed"
    ):
        from_interactions(path)
    (tmp_path / "log.csv").write_bytes("user,item,timestamp\na,b,1\né,c,2\n".encode("latin-1"))
    with pytest.raises(InteractionsError, match=r"log\.csv, line 3: found the byte e9"):
        from_interactions(tmp_path / "log.csv")


def test_tokens_training_evaluation_and_pictures_work_unchanged(capsys):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(  # everybody goes round the same circle of twelve items
        {
            "user": np.repeat([f"u{i}" for i in range(40)], 8),
            "item": [f"item {(s + k) % 12}" for s in generator.integers(12, size=40) for k in range(8)],
            "timestamp": np.tile(np.arange(8), 40),
        }
    )  # fmt: skip
    data = from_interactions(frame)
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    split = leave_one_out(sequences)
    torch.manual_seed(0)
    features = movie_features(data.movies, metadata)
    assert torch.isfinite(features).all()
    shape = TransformerConfig(
        vocab_size=metadata.vocab_size, context_window_size=8, embedding_dimension=16, num_layers=1,
        num_heads=2, dropout_embeddings=0.0, dropout_attention=0.0, dropout_residual=0.0,
    )  # fmt: skip
    model = SequenceModel(SequenceModelConfig(transformer=shape))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(15):
        for batch in training_batches(sequences, split.train_lengths, 8, 16, epoch):
            optimizer.zero_grad()
            next_movie_loss(model, batch).backward()
            optimizer.step()
    score = history_scores(model, torch.device("cpu"))
    ranks = evaluate_ranking(score, sequences, split.test)
    assert (ranks == 0).double().mean() > 0.9
    show_posters([data.movies["movie_id"].tolist()[:5]], data.movies)
