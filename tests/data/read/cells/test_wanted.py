"""Names that say how a column is made of others: the first of several, a path into cells, a unit of time."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys.data.check.check import check
from recsys.data.dataset import Dataset
from recsys.data.read import formats
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

START = 1_700_000_000


def events(data: Dataset) -> list[tuple[str, str, int]]:
    log = data.interactions
    times = [0] * len(log) if log.time is None else log.time.tolist()
    return [
        (data.user_ids[u], data.item_ids[i], t) for u, i, t in zip(log.user, log.item, times, strict=True)
    ]


ORDERS = [
    {"who": {"id": "u"}, "items": [{"item_id": "a", "n": 1}, {"item_id": "b", "n": 2}], "at": START * 10**6},
    {"who": {"id": "v"}, "items": [], "at": (START + 1) * 10**6},
    {"who": {"id": "w"}, "items": None, "at": (START + 2) * 10**6},
    {"who": {"id": "v"}, "items": [{"item_id": "c", "n": 3}], "at": (START + 3) * 10**6},
]
NESTED = {"user_id": "who.id", "item_id": "items[].item_id", "timestamp": "at:us", "weight": "items[].n"}


@pytest.mark.parametrize("form", ["arrow", "parquet", "jsonl", "on disk", "large lists"])
def test_a_path_makes_a_row_of_each_element(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_ROWS", 2)
    source: Any = pa.Table.from_pylist(ORDERS)
    disk = tmp_path if form == "on disk" else None
    if form == "large lists":
        source = source.set_column(
            1, "items", source["items"].cast(pa.large_list(source["items"].type.value_type))
        )
    if form in ("parquet", "on disk"):
        parquet.write_table(source, tmp_path / "events.parquet")
    if form == "jsonl":
        (tmp_path / "events.jsonl").write_text("".join(json.dumps(order) + "\n" for order in ORDERS))
    if form in ("parquet", "on disk", "jsonl"):
        data = load_dataset(str(tmp_path), NESTED, on_disk=disk)
    else:
        data = dataset_of(source, columns=NESTED)
    assert events(data) == [("u", "a", START), ("u", "b", START), ("v", "c", START + 3)]
    assert data.interactions.weights.tolist() == [1.0, 2.0, 3.0]


def test_a_finding_names_the_row_that_the_element_stands_in(tmp_path: Path) -> None:
    orders = [
        *ORDERS[:3],
        {"who": {"id": "v"}, "items": [{"item_id": "c"}, {"item_id": ""}], "at": START * 10**6},
    ]
    for name, rows in (("a", orders[:2]), ("b", orders[2:])):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    columns = {role: NESTED[role] for role in ("user_id", "item_id")}
    with pytest.raises(DataError, match=r"1 of 4 rows have an empty id, first row 2 of .*b\.parquet"):
        load_dataset(str(tmp_path), columns)
    with pytest.raises(DataError, match=r"1 of 2 rows have an empty id, first row 2 of .*b\.parquet"):
        load_dataset(str(tmp_path), columns, on_disk=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        ["a b", "c"],
        ["a|b", "c"],
        ["a, b", "c"],
        ["['a', 'b']", "['c']"],
        ['["a", "b"]', '["c"]'],
        ["{a,b}", "{c}"],
    ],
)
def test_lists_as_text_are_lists_too(text: list[str], tmp_path: Path) -> None:
    lines = "".join(
        f'{user},"{items}"\n' for user, items in zip("uv", (t.replace('"', '""') for t in text), strict=True)
    )
    (tmp_path / "sessions.csv").write_text("session,items\n" + lines)
    data = load_dataset(str(tmp_path / "sessions.csv"), {"user_id": "session", "item_id": "items[]"})
    assert events(data) == [("u", "a", 0), ("u", "b", 0), ("v", "c", 0)]


def test_lists_beside_each_other_go_together() -> None:
    table = {"user_id": ["u", "v"], "items": [["a", "b"], ["c"]], "times": [[START, START + 1], [START + 2]]}
    columns = {"item_id": "items[]", "timestamp": "times[]"}
    data = dataset_of(pa.table(table), columns=columns)
    assert events(data) == [("u", "a", START), ("u", "b", START + 1), ("v", "c", START + 2)]
    table["times"][1] = []
    with pytest.raises(
        DataError, match=r"'items' and 'times' of events hold lists of different lengths, first row 2"
    ):
        dataset_of(pa.table(table), columns=columns)


def test_the_first_of_several_columns_that_a_row_has() -> None:
    columns = {"user_id": "customer_id or session_id"}
    for customer in ([1, None, None], [1.0, None, float("nan")], ["1", "", None]):
        table = pa.table({"customer_id": customer, "session_id": ["s", "t", "u"], "item_id": list("abc")})
        assert [user for user, _, _ in events(dataset_of(table, columns=columns))] == ["1", "t", "u"]
    gaps = pa.table({"customer_id": ["1", None], "session_id": ["s", ""], "item_id": list("ab")})
    with pytest.raises(
        DataError, match="column 'customer_id or session_id' of events: 1 of 2 rows have an empty id"
    ):
        dataset_of(gaps, columns=columns)
    with pytest.raises(DataError, match="no column 'visit_id', of which 'customer_id or visit_id' is made"):
        dataset_of(gaps, columns={"user_id": "customer_id or visit_id"})


def test_the_first_of_several_columns_of_a_csv_stays_text(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("customer_id,session_id,item_id\n007,1,a\n,02,b\n\\N,3,c\n")
    data = dataset_of(tmp_path / "e.csv", columns={"user_id": "customer_id or session_id"})
    assert list(data.user_ids) == ["007", "02", "3"]


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("kind", ["whole", "text", "float", "decimal"])
def test_a_unit_after_the_name_is_that_of_the_time(unit: str, per: int, kind: str) -> None:
    times = [START * per, (START + 1) * per - 1 if kind != "float" or unit != "ns" else START * per]
    write = {"whole": int, "text": str, "float": float, "decimal": Decimal}[kind]
    table = pa.table({"user_id": ["u", "v"], "item_id": ["a", "b"], "at": [write(time) for time in times]})
    data = dataset_of(table, columns={"timestamp": f"at:{unit}"})
    assert data.interactions.time is not None
    assert data.interactions.time.tolist() == [START, START]
    findings = check(table, {"timestamp": f"at:{unit}"}, split=False).findings
    assert not [finding.kind for finding in findings if finding.level == "error"]


def test_a_time_in_another_unit_says_how_to_name_it() -> None:
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "at": [START * 10**6]})
    for name in ("at", "at:s"):
        with pytest.raises(DataError, match="name the column at:ms, at:us or at:ns"):
            dataset_of(table, columns={"timestamp": name})


def test_a_column_that_is_called_so_comes_first() -> None:
    table = pa.table({"a or b": ["u"], "item.id": ["x"], "item": [{"id": "y"}], "at:ms": [START * 1000]})
    data = dataset_of(table, columns={"user_id": "a or b", "item_id": "item.id", "timestamp": "at:ms"})
    assert events(data) == [("u", "x", START)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("items[].sku", r"column 'items\[\]' of events has no field 'sku'; its fields are item_id, n"),
        ("items[].item_id.x", r"holds (large_)?string, which has no field 'x'"),
        ("user_id[].x", r"has no field 'x'|holds .*string"),
        ("who[]", r"column 'who' of events holds struct.*, and no lists\. Leave out the \[\]"),
        ("who", r"column 'who' of events holds struct.*Name one of its fields, as in who\.id"),
        (
            "goods[].id",
            r"events has no column 'goods\[\]\.id' for the item_id; its columns are who, items, at",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_one_sentence(name: str, message: str) -> None:
    table = pa.Table.from_pylist(ORDERS)
    if name.startswith("user_id"):
        table = table.append_column("user_id", pa.array(["x y"] * 4))
    with pytest.raises(DataError, match=message):
        dataset_of(table, columns={"user_id": "who.id", "item_id": name})
