"""Item tables, and data sets that lie in folders: their layouts, their published splits, their names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.read.load import find, load_dataset
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

EVENTS = {"user_id": ["u", "v", "u"], "item_id": ["x", "y", "z"]}


def with_items(items: Any) -> Dataset:
    return dataset_of(pd.DataFrame(EVENTS), items)


def refusal(items: Any) -> str:
    with pytest.raises(DataError) as caught:
        with_items(items)
    return str(caught.value)


def write(folder: Path, **tables: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    for name, columns in tables.items():
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    return str(folder)


def parts_of(data: Dataset) -> list[tuple[str, str, int]]:
    """user, item and part of each event."""
    assert data.published is not None
    events = data.interactions
    rows = zip(events.user, events.item, data.published.part, strict=True)
    return [(data.user_ids[user], data.item_ids[item], int(part)) for user, item, part in rows]


def test_described_items_come_first_and_undescribed_ones_follow_without_text() -> None:
    data = with_items(
        pd.DataFrame({"item_id": ["never seen", "z"], "title": ["N", "Z"], "genres": ["a|b", "c"]})
    )
    assert list(data.item_ids) == ["never seen", "z", "x", "y"]
    assert data.n_items == 4
    assert data.items.to_pydict() == {
        "title": ["N", "Z", None, None],
        "categories": [["a", "b"], ["c"], None, None],
    }
    assert data.interactions.item.tolist() == [2, 3, 1]


def test_items_without_a_table_are_those_of_the_events() -> None:
    data = with_items(None)
    assert list(data.item_ids) == ["x", "y", "z"]
    assert data.items.to_pydict() == {"title": [None] * 3}
    plain = with_items(pa.table({"item_id": ["y", "q"], "price": [1, 2]}))
    assert list(plain.item_ids) == ["y", "q", "x", "z"]
    assert plain.items.to_pydict() == {"title": [None] * 4}


@pytest.mark.parametrize(
    ("column", "text", "categories"),
    [
        ("genres", ["Drama|Sci-Fi", "War"], [["Drama", "Sci-Fi"], ["War"]]),
        ("genres", ["Drama | Film Noir", "War"], [["Drama", "Film Noir"], ["War"]]),
        ("genres", ["Drama, Slice of Life", "War"], [["Drama", "Slice of Life"], ["War"]]),
        ("genres", ["drama  war", "war"], [["drama", "war"], ["war"]]),
        ("categories", ["Home, Garden", "Film Noir"], [["Home", "Garden"], ["Film Noir"]]),
        ("categories", ["Film Noir", "War"], [["Film Noir"], ["War"]]),
        ("genres", ["", None], [None, None]),
        ("categories", [["a", "b"], []], [["a", "b"], []]),
        ("categories", pa.array([["a"], None], pa.large_list(pa.large_string())), [["a"], None]),
    ],
)
def test_categories_are_split_at_their_own_separator(column: str, text: Any, categories: list[Any]) -> None:
    data = with_items(pa.table({"item_id": ["x", "y"], column: text}))
    assert data.items["categories"].to_pylist() == [*categories, None]
    assert data.items["categories"].type == pa.list_(pa.string())


def test_text_of_an_item_csv_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,domain,genres\n007,007,01,1|2\nNA,1984,NA,10\n")
    data = with_items(path)
    assert list(data.item_ids)[:2] == ["007", "NA"]
    assert data.items.slice(0, 2).to_pydict() == {
        "title": ["007", "1984"],
        "domain": ["01", "NA"],
        "categories": [["1", "2"], ["10"]],
    }


def test_a_domain_is_read_by_its_name() -> None:
    table = pa.table(
        {"item_id": ["x", "y", "z"], "domain": [0, 1, 0], "domain_name": ["Books", "Films", "Books"]}
    )
    assert with_items(table).items["domain"].to_pylist() == ["Books", "Films", "Books"]
    assert with_items(table.drop(["domain_name"])).items["domain"].to_pylist() == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            {"item_id": ["x", "y", "x"]},
            "1 of 3 rows have an item that an earlier.*'x', first row 3. Describe each item once",
        ),
        ({"id": ["x"]}, "items has no column 'item_id'; its columns are id"),
        ({"item_id": ["x", ""]}, "column 'item_id' of items: 1 of 2 rows have an empty id, first row 2"),
        ({"item_id": [1.0]}, "column 'item_id' of items holds ids as floating-point"),
        (
            {"item_id": ["x"], "title": [["t"]]},
            "column 'title' of items holds list<.*cannot be read as title",
        ),
        (
            {"item_id": ["x"], "genres": [b"\xff"]},
            "column 'genres' of items holds binary.*cannot be read as categories",
        ),
    ],
)
def test_wrong_item_tables_are_refused_by_column(items: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_items(pa.table(items))


@pytest.mark.parametrize("name", ["events", "interactions"])
def test_a_folder_of_one_table_is_read_with_its_items(name: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "shop",
        **{name: {**EVENTS, "timestamp": [3, 1, 2]}},
        items={"item_id": ["z"], "title": ["Z"]},
    )
    data = load_dataset(folder)
    assert (data.name, list(data.item_ids), data.published) == ("shop", ["z", "x", "y"], None)
    assert data.interactions.time is not None
    assert data.interactions.time.tolist() == [1, 2, 3]


def test_a_folder_of_csv_files_keeps_ids_and_event_types_as_text(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("visitor,product,event\n007,NA,01\n7,1.0,1\n")
    (tmp_path / "items.csv").write_text("item_id,title\nNA,Nothing\n")
    data = load_dataset(str(tmp_path), {"user_id": "visitor", "item_id": "product"})
    assert (list(data.user_ids), list(data.item_ids)) == (["007", "7"], ["NA", "1.0"])
    assert data.interactions.event_names == ("01", "1")
    assert data.items["title"].to_pylist() == ["Nothing", None]


def test_published_parts_are_joined_and_told_apart(tmp_path: Path) -> None:
    one = {"user_id": ["u"], "item_id": ["x"]}
    folder = write(tmp_path / "cut", train=EVENTS, validation=one, test=one)
    data = load_dataset(folder)
    parts = [
        ("u", "x", TRAIN),
        ("v", "y", TRAIN),
        ("u", "z", TRAIN),
        ("u", "x", VALIDATION),
        ("u", "x", TEST),
    ]
    assert parts_of(data) == parts
    assert data.interactions.time is None
    (tmp_path / "cut" / "validation.parquet").unlink()
    assert parts_of(load_dataset(folder)) == [row for row in parts if row[2] != VALIDATION]


def test_parts_with_times_are_joined_in_time_and_keep_weights_and_event_types(tmp_path: Path) -> None:
    train = {**EVENTS, "timestamp": [5, 1, 9], "weight": [1.0, 2.0, 3.0], "event": ["view", "view", "buy"]}
    test = {"user_id": ["v"], "item_id": ["z"], "timestamp": [7], "weight": [4.0], "event": ["click"]}
    data = load_dataset(write(tmp_path / "cut", train=train, test=test))
    assert parts_of(data) == [("v", "y", TRAIN), ("u", "x", TRAIN), ("v", "z", TEST), ("u", "z", TRAIN)]
    assert data.interactions.time is not None
    assert data.interactions.time.tolist() == [1, 5, 7, 9]
    assert data.interactions.weights.tolist() == [2.0, 1.0, 4.0, 3.0]
    assert data.interactions.event is not None
    names = data.interactions.event_names
    assert [names[code] for code in data.interactions.event] == ["view", "view", "click", "buy"]


def test_times_in_one_part_alone_are_left_out(tmp_path: Path) -> None:
    test = {"user_id": ["v"], "item_id": ["z"], "timestamp": [7]}
    assert load_dataset(write(tmp_path / "cut", train=EVENTS, test=test)).interactions.time is None


def test_validation_rows_marked_inside_train_are_told_apart(tmp_path: Path) -> None:
    train = {**EVENTS, "in_lgpp_valid": [False, True, None]}
    data = load_dataset(write(tmp_path / "cut", train=train, test={"user_id": ["v"], "item_id": ["x"]}))
    assert parts_of(data) == [("u", "x", TRAIN), ("v", "y", VALIDATION), ("u", "z", TRAIN), ("v", "x", TEST)]


def test_a_split_column_gives_the_parts_and_pos_the_order(tmp_path: Path) -> None:
    table = {
        "user_id": ["u"] * 4,
        "item_id": list("wxyz"),
        "split": ["test", "train", "valid", "train"],
        "pos": [10, 2, 9, 1],
    }
    data = load_dataset(write(tmp_path / "seq", interactions=table))
    assert parts_of(data) == [("u", "z", TRAIN), ("u", "x", TRAIN), ("u", "y", VALIDATION), ("u", "w", TEST)]
    assert data.interactions.time is None


@pytest.mark.parametrize("pos", [["2", "10", "1"], [1, None, 2], [0.5, 1.5, 2.5]])
def test_a_pos_that_is_no_whole_number_is_refused(pos: list[Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'pos' of .* must hold whole numbers"):
        load_dataset(write(tmp_path / "seq", interactions={**EVENTS, "pos": pos}))


def test_times_overrule_pos(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path / "seq", events={**EVENTS, "timestamp": [2, 1, 3], "pos": [1, 2, 0]}))
    assert data.interactions.time is not None
    assert data.interactions.time.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "named"), [(["train", "tset", "test"], "'tset'"), (["train", None, "test"], "None")]
)
def test_a_wrong_split_value_is_named(values: list[Any], named: str, tmp_path: Path) -> None:
    said = f"column 'split' of .*interactions.parquet: 1 of 3 rows have none of .* but {named}, first row 2"
    with pytest.raises(DataError, match=said):
        load_dataset(write(tmp_path / "seq", interactions={**EVENTS, "split": values}))


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'user_id' holds .*train.*test.*Give it the same type in each"):
        load_dataset(write(tmp_path / "a", train=EVENTS, test={"user_id": [1.0], "item_id": ["x"]}))
    with pytest.raises(DataError, match=r"test.parquet has no column 'item_id' for the item_id"):
        load_dataset(write(tmp_path / "b", train=EVENTS, test={"user_id": ["u"], "item": ["x"]}))
    with pytest.raises(DataError, match=r"test.parquet has no column 'stars' for the weight"):
        load_dataset(
            write(tmp_path / "c", train={**EVENTS, "stars": [1, 2, 3]}, test=EVENTS), {"weight": "stars"}
        )


def test_a_folder_without_tables_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it holds nothing"):
        load_dataset(str(tmp_path))
    (tmp_path / "train.csv").write_text("user_id,item_id\nu,x\n")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"both `train` and `test` .*; it holds notes.txt, train.csv"):
        load_dataset(str(tmp_path))


def test_a_misspelt_name_names_the_near_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    write(tmp_path / "films-100k", events=EVENTS)
    assert find("films-100k") == tmp_path / "films-100k"
    assert load_dataset("films-100k").name == "films-100k"
    with pytest.raises(
        DataError, match=r"'film-100k' is neither .* Did you mean 'films-100k'\? Set RECSYS_DATA"
    ):
        find("film-100k")
    for strange in ("zzz", "", "x" * 5_000, "a\0b"):
        with pytest.raises(DataError, match="is neither a path nor in"):
            find(strange)


def test_the_digest_changes_with_every_event_and_id() -> None:
    base = {**EVENTS, "timestamp": [1, 2, 3]}
    others = [
        {**base, "user_id": ["u", "v", "w"]},
        {**base, "item_id": ["x", "y", "zz"]},
        {**base, "timestamp": [1, 2, 4]},
        {**base, "weight": [1.0, 1.0, 1.0]},
        {**base, "event": ["buy"] * 3},
        {name: values[:2] for name, values in base.items()},
    ]
    digests = [dataset_of(pa.table(table)).digest for table in [base, *others]]
    assert len(set(digests)) == len(digests)
    assert dataset_of(pd.DataFrame(base)).digest == digests[0]


def test_histories_hold_the_last_events_oldest_first() -> None:
    table = pa.table({"user_id": list("uvuuv"), "item_id": list("abcda"), "timestamp": [5, 1, 2, 9, 4]})
    events = dataset_of(table).interactions
    whole = events.histories()
    assert [whole.items.row(user).tolist() for user in range(2)] == [[2, 0, 3], [1, 0]]
    assert whole.time is not None
    assert whole.time.tolist() == [2, 5, 9, 1, 4]
    last = events.histories(2)
    assert [last.items.row(user).tolist() for user in range(2)] == [[0, 3], [1, 0]]
    assert last.time is not None
    assert last.time.tolist() == [5, 9, 1, 4]
    assert events.item_counts().tolist() == [2, 1, 1, 1]
    assert events.item_counts(since=4).tolist() == [2, 0, 0, 1]


def test_the_matrix_sums_the_weights_of_a_pair() -> None:
    table = pa.table({"user_id": list("uuv"), "item_id": list("aab"), "weight": [1.5, 2.0, 1.0]})
    events = dataset_of(table).interactions
    assert events.matrix().toarray().tolist() == [[3.5, 0.0], [0.0, 1.0]]
    assert events.matrix() is events.matrix()
    assert np.all(events.matrix().has_canonical_format)


def test_a_column_of_ids_that_is_empty_throughout_is_a_finding_and_no_traceback(tmp_path: Path) -> None:
    table = pa.table({"user_id": pa.nulls(3), "item_id": ["a", "b", "c"]})
    for source in (table, write(tmp_path / "d", events=table.to_pydict())):
        with pytest.raises(DataError, match=r"'user_id' .*3 of 3 rows have an empty id, first row 1"):
            load_dataset(source) if isinstance(source, Path) else dataset_of(source)


def test_a_word_among_times_is_named_by_its_row_though_the_times_of_another_file_are_no_text(
    tmp_path: Path,
) -> None:
    """The parser of a CSV gives the times of a sound file a type of their own, and keeps those of the other
    as text."""
    days = [f"2026-01-0{day}T00:00:00Z" for day in range(1, 4)]
    (tmp_path / "spoilt" / "events").mkdir(parents=True)
    for name, times in (("a", days), ("b", [days[0], "soon", days[2]])):
        table = {"user_id": ["u", "v", "w"], "item_id": ["a", "b", "c"], "timestamp": times}
        pd.DataFrame(table).to_csv(tmp_path / "spoilt" / "events" / f"{name}.csv", index=False)
    with pytest.raises(DataError, match=r"'timestamp'.*'soon'.*row 2 of .*b\.csv"):
        load_dataset(tmp_path / "spoilt")


def test_a_word_among_weights_is_named_by_its_row_though_another_file_holds_numbers(tmp_path: Path) -> None:
    (tmp_path / "spoilt" / "events").mkdir(parents=True)
    for name, weights in (("a", ["1", "much", "2.5"]), ("b", ["0.5", "1e-3", "4"])):
        table = {"user_id": ["u", "v", "w"], "item_id": ["a", "b", "c"], "weight": weights}
        pd.DataFrame(table).to_csv(tmp_path / "spoilt" / "events" / f"{name}.csv", index=False)
    with pytest.raises(
        DataError, match=r"'weight'.*1 of 6 rows.*cannot be read as weights, first row 2 of .*a\.csv"
    ):
        load_dataset(tmp_path / "spoilt")
