"""Ids that a tool has spoilt, and tables that do not meet: `check` and a data set say the same of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from recsys.data.check.check import check
from recsys.data.check.findings import Finding
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of

START = 1_700_000_000
USERS, ITEMS = 30, 20


def log(user: Any = "u{}".format, item: Any = "i{}".format, n: int = 600) -> pa.Table:
    random = np.random.default_rng(1)
    users, items = random.integers(0, USERS, n), random.integers(0, ITEMS, n)
    columns = {"user_id": [user(k) for k in users], "item_id": [item(k) for k in items]}
    return pa.table(columns | {"timestamp": START + np.sort(random.integers(0, 10**6, n))})


def folder(path: Path, **tables: pa.Table) -> Path:
    path.mkdir(exist_ok=True)
    for name, table in tables.items():
        pa.csv.write_csv(table, path / f"{name}.csv")
    return path


def findings(path: Path) -> dict[str, Finding]:
    """The findings about ids, by kind; a data set of the same path says the same sentences."""
    checked = check(str(path))
    about = [
        one
        for one in checked.findings
        if one.kind.endswith(("_id", "_item", "_user", "_table", "_users", "_items"))
    ]
    said = {one.sentence(checked.where) for one in about if one.table is None and one.part is None}
    assert said <= set(load_dataset(str(path)).warnings)
    return {one.kind: one for one in about}


def some(word: str, write: Any = "u{}".format, every: int = 9) -> Any:
    """Writes ids, and the word for every ninth user."""
    return lambda k: word if k % every == 0 else write(k)


def test_sound_ids_are_not_spoken_of(tmp_path: Path) -> None:
    items = pa.table({"item_id": [f"i{k}" for k in range(ITEMS)], "title": ["t"] * ITEMS})
    assert findings(folder(tmp_path / "d", events=log(), items=items)) == {}


@pytest.mark.parametrize(
    "word", ["NULL", "null", "None", "nan", "NaN", "-1", "N/A", "<NA>", "NaT", "undefined", "(not set)"]
)
def test_a_word_for_nobody_is_counted(word: str, tmp_path: Path) -> None:
    table = log(some(word, str))
    finding = findings(folder(tmp_path / "d", events=table))["nobody_id"]
    rows = [k for k, user in enumerate(table["user_id"].to_pylist(), 1) if user == word]
    assert (finding.level, finding.column, finding.count, finding.first_row) == (
        "warning",
        "user_id",
        len(rows),
        rows[0],
    )
    assert f"{word!r} for an id" in finding.said


@pytest.mark.parametrize("word", ["0", "unknown", "guest", "NA"])
def test_a_word_that_may_be_somebodys_is_named_only_with_many_events(word: str, tmp_path: Path) -> None:
    one = findings(folder(tmp_path / "one", events=log(some(word, lambda k: str(k + 1), every=USERS))))
    many = findings(folder(tmp_path / "many", events=log(some(word, lambda k: str(k + 1), every=2))))
    assert (set(one), set(many)) == (set(), {"nobody_id"})


def test_one_number_below_zero_among_others_is_somebody(tmp_path: Path) -> None:
    assert findings(folder(tmp_path / "d", events=log(lambda k: str(k - 9)))) == {}


def test_an_item_that_is_no_item_is_counted_too(tmp_path: Path) -> None:
    finding = findings(folder(tmp_path / "d", events=log(item=some("null", "i{}".format))))["nobody_id"]
    assert (finding.column, "count as one item" in finding.said) == ("item_id", True)


def test_numbers_that_went_through_floating_point(tmp_path: Path) -> None:
    by_kind = findings(
        folder(tmp_path / "d", events=log("{}.0".format, lambda k: f"{k + 1.5:.3e}".replace("e+00", "e+08")))
    )
    assert {kind: (one.column, one.count) for kind, one in by_kind.items()} == {
        "decimal_id": ("user_id", 600),
        "rounded_id": ("item_id", 600),
    }


@pytest.mark.parametrize(
    ("events", "table", "form"),
    [
        ("{}.0", "{}", "without decimals"),
        ("{}", "{}.0", "without decimals"),
        ("{:03}", "{}", "without leading zeros"),
        ("sku{}", "SKU{}", "in small letters"),
        ("{}", "item_{}", "without what stands before the number"),
        (
            "{:08}-0000-4000-8000-000000000000",
            "{{{:08}000040008000000000000000}}",
            "without dashes and braces",
        ),
        ("caf\u00e9{}", "cafe\u0301{}", "in one form of Unicode"),
        ("x{}y", "'x{}y'", "without quotes"),
        ("a{}b", "c{}d", None),
    ],
)
@pytest.mark.parametrize("who", ["item", "user"])
def test_a_table_that_shares_no_id_names_one_of_each_side(
    who: str, events: str, table: str, form: str | None, tmp_path: Path
) -> None:
    n = ITEMS if who == "item" else USERS
    described = pa.table({f"{who}_id": [table.format(k) for k in range(n)], "age": ["1"] * n})
    path = folder(tmp_path / "d", **{"events": log(**{who: events.format}), f"{who}s": described})
    finding = findings(path)[f"unmet_{who}_table"]
    sentence = finding.sentence("d")
    shown = log(**{who: events.format})[f"{who}_id"].to_pylist()
    assert f"none of its {n} {who}s" in sentence
    assert str(path / f"{who}s.csv") in sentence
    pairs = [(repr(events.format(k)), repr(table.format(other))) for k in range(n) for other in range(n)]
    (pair,) = [(here, there) for here, there in pairs if f"({here} here, {there} there)" in sentence]
    if form is None:
        assert pair[0] == repr(shown[0])
        assert "would meet" not in sentence
    else:
        assert f"{n} of these would meet {form}" in sentence
        assert pair in [(repr(events.format(k)), repr(table.format(k))) for k in range(n)]


@pytest.mark.parametrize("who", ["item", "user"])
def test_a_half_met_table_says_how_many(who: str, tmp_path: Path) -> None:
    n = ITEMS if who == "item" else USERS
    ids = [f"{who[0]}{k}" for k in range(4, n)] + ["other"]
    path = folder(
        tmp_path / "d", **{"events": log(), f"{who}s": pa.table({f"{who}_id": ids, "age": ["1"] * len(ids)})}
    )
    finding = findings(path)[f"undescribed_{who}"]
    assert (finding.level, finding.count, finding.of) == ("warning", 4, n)
    assert "'other', which has no event" in finding.said


@pytest.mark.parametrize("timed", [True, False])
def test_a_test_part_that_shares_no_id_with_train(timed: bool, tmp_path: Path) -> None:
    columns = ["user_id", "item_id", *(["timestamp"] if timed else [])]
    train, test = log(lambda k: str(k)).select(columns), log("{}.0".format).select(columns)[:50]
    strangers = findings(folder(tmp_path / "d", train=train, test=test))["unmet_test_users"]
    users = len(set(test["user_id"].to_pylist()))
    assert f"none of the {users} users of its test part" in strangers.said
    assert f"{users} of these would meet without decimals" in strangers.fix


def test_a_test_part_that_half_meets_train_says_how_many(tmp_path: Path) -> None:
    train = log().filter(pa.array([user not in ("u1", "u2") for user in log()["user_id"].to_pylist()]))
    finding = findings(folder(tmp_path / "d", train=train, test=log()))["new_test_user"]
    assert (finding.count, finding.of) == (2, USERS)


def test_the_column_split_says_the_same_of_its_parts() -> None:
    table = log()
    parts = ["test" if k > 500 else "train" for k in range(len(table))]
    users = [
        f"{user}.0" if part == "test" else user
        for user, part in zip(table["user_id"].to_pylist(), parts, strict=True)
    ]
    table = table.set_column(0, "user_id", pa.array(users)).append_column("split", pa.array(parts))
    assert "unmet_test_users" in {one.kind for one in check(table).findings}
    assert any("of its test part with train" in warning for warning in dataset_of(table).warnings)
