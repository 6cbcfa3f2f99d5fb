"""Drafts of data folders, drawn from a seed, and faults to plant in one: for `benchmarks.data_folders`."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Rows = dict[str, list[Any]]  # the columns of a table, by role or by name

START, DAY = 1_600_000_000, 86_400
ROLES = {"user": "user_id", "item": "item_id", "time": "timestamp", "event": "event", "weight": "weight"}
OWN_NAMES = {
    "user_id": ["visitor", "Kunde", "user id", "кто", "who's"],
    "item_id": ["article", "Artikel-Nr.", "item id", "sku|id"],
    "timestamp": ["at", "event_time", "Zeit (UTC)"],
    "event": ["action", "typ"],
    "weight": ["rating", "qty"],
}
LAYOUTS = ("file", "events", "interactions", "parts", "train_test", "split_column")
FORMATS = ("csv", "csv.gz", "parquet", "jsonl", "jsonl.gz")
ID_KINDS = ("text", "number", "large", "dictionary", "binary", "zeros")
TIME_KINDS = ("seconds", "float", "naive", "zoned", "text", "date", "text seconds")
WILD = (
    "null",
    "bool",
    "list",
    "struct",
    "duration",
    "time32",
    "decimal",
    "float16",
    "uuid",
    "binary16",
    "map",
    "month",
)


@dataclass(frozen=True)
class Fault:
    """What is planted. words: what the finding must say, beside the file; none where nothing is wrong.

    plant: changes a draft, and returns which table it is in, and the row (from 0), or None for the whole
    table; None where this draft cannot have it. wild: anything may be said but by a traceback.
    """

    name: str
    plant: Callable[["Draft"], tuple[str, int | None] | None]
    words: tuple[str, ...] = ()
    wild: bool = False


@dataclass
class Draft:
    """A folder before it is written. tables: by "events", "items" and "users". kinds: how a column is to be
    typed.

    raw: bytes that stand for a table, or lines that are put into a CSV after so many rows. columns: own names
    by role.
    """

    random: random.Random
    layout: str
    format: str
    tables: dict[str, Rows]
    kinds: dict[tuple[str, str], str]
    columns: dict[str, str]
    parts: int
    part: list[str]
    settings: list[str] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, tuple[int, str]] = field(default_factory=dict)
    header: dict[str, list[str]] = field(default_factory=dict)
    fault: Fault = Fault("none", lambda draft: ("events", None))
    place: tuple[str, int | None] = ("events", None)
    file_of_fault: str | None = None

    @classmethod
    def of_seed(cls, seed: int) -> "Draft":
        """The draft of a seed: a sound log with structure, dressed in some way, and mostly one fault in
        it."""
        draw = random.Random(seed)
        n_users, n_items = draw.randint(15, 40), draw.randint(10, 30)
        events: Rows = {"user_id": [], "item_id": [], "timestamp": []}
        for number in range(draw.randint(200, 400)):
            events["user_id"].append(draw.randrange(n_users))
            events["item_id"].append(draw.randrange(n_items))
            events["timestamp"].append(START + number * draw.randint(1_000, 20_000))
        events["timestamp"].sort()
        n = len(events["user_id"])
        if draw.random() < 0.3:
            events["event"] = [draw.choice(["view", "buy", "click"]) for _ in range(n)]
        if draw.random() < 0.3:
            events["weight"] = [draw.choice([1.0, 2.5, 5.0]) for _ in range(n)]
        layout, tables = draw.choice(LAYOUTS), {"events": events}
        if layout != "file" and draw.random() < 0.6:
            tables["items"] = {
                "item_id": list(range(n_items)),
                "title": [f"Title {k}" for k in range(n_items)],
                "price": [float(k) for k in range(n_items)],
                "categories": [draw.choice([["a"], ["a", "b"], ["c"]]) for _ in range(n_items)],
            }
        if layout != "file" and draw.random() < 0.4:
            tables["users"] = {
                "user_id": list(range(n_users)),
                "country": [draw.choice("NSD") for _ in range(n_users)],
            }
        kinds = {("events", "timestamp"): draw.choice(TIME_KINDS)}
        for who in ("user_id", "item_id"):
            kinds |= dict.fromkeys([("events", who), (f"{who[:4]}s", who)], draw.choice(ID_KINDS))
        if draw.random() < 0.2 and layout in ("train_test", "split_column"):
            del events["timestamp"]
        columns = {
            role: draw.choice(names)
            for role, names in OWN_NAMES.items()
            if role in events and draw.random() < 0.2
        }
        cut = int(n * 0.7)
        pairs = set(zip(events["user_id"][:cut], events["item_id"][:cut], strict=True))
        later = zip(events["user_id"][cut:], events["item_id"][cut:], strict=True)
        part = ["train"] * cut + ["train" if pair in pairs else "test" for pair in later]
        if layout == "split_column":
            events["split"] = part
        draft = cls(draw, layout, draw.choice(FORMATS), tables, kinds, columns, draw.randint(1, 4), part)
        if draw.random() < 0.85:
            draft._plant(draw.choice(FAULTS))
        return draft

    def _plant(self, fault: Fault) -> None:
        place = fault.plant(self)
        if place is not None:
            self.fault, self.place = fault, place

    def own_names(self) -> dict[str, str]:
        """The user's own names of columns, by the short word of their option."""
        return {short: self.columns[role] for short, role in ROLES.items() if role in self.columns}

    def as_text(self, column: str) -> None:
        """Makes the ids of events and of the table of the same ids text."""
        self.kinds |= dict.fromkeys([("events", column), (f"{column[:4]}s", column)], "text")

    @property
    def n(self) -> int:
        return len(self.tables["events"]["user_id"])

    def row(self) -> int:
        """A row of the events, of the part to learn from where there are parts."""
        return self.random.randrange(self.n // 2)


def cell(column: str, value: Any, *kinds: str) -> Callable[[Draft], tuple[str, int | None] | None]:
    """Plants a value in one row of the events; the column is of one of these kinds, then."""

    def plant(draft: Draft) -> tuple[str, int] | None:
        events = draft.tables["events"]
        if column == "timestamp" and column not in events:
            return None
        events.setdefault(column, ["view" if column == "event" else 1.0] * draft.n)
        row = draft.row()
        events[column][row] = value
        if kinds:
            draft.kinds["events", column] = draft.random.choice(kinds)
        return "events", row

    return plant


def words_of(column: str, word: str) -> Callable[[Draft], tuple[str, int | None] | None]:
    """Plants a word in every seventh row of the events."""

    def plant(draft: Draft) -> tuple[str, int] | None:
        draft.as_text(column)
        rows = range(3, draft.n, 7)
        for row in rows:
            draft.tables["events"][column][row] = word
        return "events", rows[0]

    return plant


def kind_of(table: str, column: str, *kinds: str, needs: str | None = None) -> Any:
    """Types a column of a table."""

    def plant(draft: Draft) -> tuple[str, None] | None:
        if (
            table not in draft.tables
            or column not in draft.tables[table]
            or (needs and draft.format != needs)
        ):
            return None
        draft.kinds[table, column] = draft.random.choice(kinds)
        return table, None

    return plant


def in_table(table: str, change: Callable[[Draft, Rows], int | None]) -> Any:
    """Changes the table of items or users, where there is one; `change` returns the row."""

    def plant(draft: Draft) -> tuple[str, int | None] | None:
        return (table, change(draft, draft.tables[table])) if table in draft.tables else None

    return plant


def _again(draft: Draft, rows: Rows) -> int:
    for column in rows.values():
        column.append(column[2])
    return len(rows[next(iter(rows))]) - 1


def _set(column: str, at: int, value: Any) -> Callable[[Draft, Rows], int]:
    def change(draft: Draft, rows: Rows) -> int:
        rows[column][at] = value
        return at

    return change


def _rename(column: str) -> Callable[[Draft, Rows], None]:
    def change(draft: Draft, rows: Rows) -> None:
        rows["number"] = rows.pop(column)
        draft.columns.pop(column, None)

    return change


def _other_ids(column: str, part: float) -> Callable[[Draft, Rows], None]:
    def change(draft: Draft, rows: Rows) -> None:
        count = int(len(rows[column]) * part)
        rows[column] = [f"x{k}" if at < count else k for at, k in enumerate(rows[column])]
        draft.as_text(column)

    return change


def _one(column: str) -> Callable[[Draft], tuple[str, None]]:
    def plant(draft: Draft) -> tuple[str, None]:
        draft.tables["events"][column] = [1] * draft.n
        return "events", None

    return plant


def _one_moment(draft: Draft) -> tuple[str, None] | None:
    if "timestamp" not in draft.tables["events"] or draft.kinds["events", "timestamp"] == "date":
        return None
    draft.tables["events"]["timestamp"] = [START] * draft.n
    return "events", None


def _milliseconds(draft: Draft) -> tuple[str, int] | None:
    if "timestamp" not in draft.tables["events"]:
        return None
    draft.kinds["events", "timestamp"] = draft.random.choice(["seconds", "float", "text seconds"])
    draft.tables["events"]["timestamp"] = [1_000 * second for second in draft.tables["events"]["timestamp"]]
    return "events", 0


def _no_times(draft: Draft) -> tuple[str, None] | None:
    if draft.layout in ("train_test", "split_column"):
        return None
    draft.tables["events"].pop("timestamp")
    draft.columns.pop("timestamp", None)
    return "events", None


def _no_rows(draft: Draft) -> tuple[str, None] | None:
    if draft.layout in ("parts", "train_test") or draft.format.startswith("jsonl"):
        return None
    draft.tables["events"] = {name: [] for name in draft.tables["events"]}
    return "events", None


def _junk(table: str) -> Any:
    def plant(draft: Draft) -> tuple[str, None] | None:
        if table not in draft.tables:
            return None
        draft.raw[table] = bytes(draft.random.randrange(128, 256) for _ in range(300))
        return table, None

    return plant


def _no_utf8(draft: Draft) -> tuple[str, int] | None:
    if draft.format not in ("csv", "csv.gz"):
        return None
    draft.as_text("user_id")
    row = draft.row()
    draft.tables["events"]["user_id"][row] = "caf\udce9"
    return "events", row


def _lengthen_row(table: str) -> Any:
    def plant(draft: Draft) -> tuple[str, int] | None:
        if draft.format not in ("csv", "csv.gz") or table not in draft.tables:
            return None
        row = draft.random.randrange(len(next(iter(draft.tables[table].values()))) // 2)
        draft.lines[table] = (row, "one,two,three,four,five,six,seven,eight,nine")
        return table, row

    return plant


def _twice(table: str) -> Any:
    def plant(draft: Draft) -> tuple[str, None] | None:
        if table not in draft.tables or draft.format not in ("csv", "csv.gz", "parquet"):
            return None
        draft.header[table] = [name for name in draft.tables[table] for _ in range(2)]
        return table, None

    return plant


def _strange_test(draft: Draft) -> tuple[str, None] | None:
    if draft.layout not in ("train_test", "split_column"):
        return None
    events = draft.tables["events"]
    draft.as_text("user_id")
    events["user_id"] = [
        f"{k}.0" if part == "test" else k for k, part in zip(events["user_id"], draft.part, strict=True)
    ]
    return "events", None


def _split_value(draft: Draft) -> tuple[str, int] | None:
    if draft.layout != "split_column":
        return None
    row = draft.row()
    draft.tables["events"]["split"][row] = "tst"
    return "events", row


def _many_types(draft: Draft) -> tuple[str, None]:
    draft.tables["events"]["event"] = [f"type {k}" for k in range(draft.n)]
    return "events", None


def _feature(draft: Draft) -> tuple[str, int] | None:
    if "items" not in draft.tables:
        return None
    at = draft.random.randrange(len(draft.tables["items"]["price"]))
    draft.tables["items"]["price"] = [str(price) for price in draft.tables["items"]["price"]]
    draft.tables["items"]["price"][at] = "—"
    draft.kinds["items", "price"] = "text"
    draft.settings = ['model={name="two_tower",item_features=[{column="price",kind="number"}]}']
    return "items", at


def _wild(draft: Draft) -> tuple[str, None] | None:
    if draft.format != "parquet":
        return None
    table = draft.random.choice(list(draft.tables))
    draft.kinds[table, draft.random.choice(list(draft.tables[table]))] = draft.random.choice(WILD)
    return table, None


FAULTS = [
    Fault("a user id is empty", cell("user_id", None), ("missing_id",)),
    Fault("an item id is empty", cell("item_id", None), ("missing_id",)),
    Fault("ids are floats", kind_of("events", "user_id", "floats", needs="parquet"), ("float_id",)),
    Fault("an id of 2,000 letters", cell("item_id", "x" * 2_000, "text"), ("long_id",)),
    Fault("an id with NUL", cell("item_id", "a\0b", "text"), ("binary_id",)),
    Fault(
        "a time is missing", cell("timestamp", None, "seconds", "naive", "zoned", "text"), ("missing_time",)
    ),
    Fault("a time before 1970", cell("timestamp", -5, "seconds", "text seconds"), ("negative_time",)),
    Fault(
        "a time in the future", cell("timestamp", 9_000_000_000, "seconds", "zoned", "text"), ("future_time",)
    ),
    Fault("text for a time", cell("timestamp", "soon", "as text"), ("text_time",)),
    Fault("milliseconds", _milliseconds, ("time_unit",)),
    Fault("one moment", _one_moment, ("refused",)),
    Fault("no times", _no_times, ("no_times",)),
    Fault("a weight of 0", cell("weight", 0.0), ("weight_not_positive",)),
    Fault("a weight below 0", cell("weight", -2.0), ("weight_not_positive",)),
    Fault("a weight that is a word", cell("weight", "much", "text"), ("weight",)),
    Fault("an event without type", cell("event", None), ("missing_event_type",)),
    Fault("too many types", _many_types, ("many_event_types",)),
    Fault("one user", _one("user_id"), ("refused", "one user")),
    Fault("one item", _one("item_id"), ("refused", "one item")),
    Fault("no rows", _no_rows, ("no rows",)),
    Fault("junk for events", _junk("events"), ("cannot be read",)),
    Fault("junk for items", _junk("items"), ("cannot be read",)),
    Fault("no UTF-8", _no_utf8, ("UTF",)),
    Fault("too many fields", _lengthen_row("events"), ("ragged_row",)),
    Fault("too many fields of an item", _lengthen_row("items"), ("ragged_row",)),
    Fault("a column twice", _twice("events"), ("more than once",)),
    Fault("a column of items twice", _twice("items"), ("more than once",)),
    Fault("NULL for nobody", words_of("user_id", "NULL"), ("nobody_id", "NULL")),
    Fault("-1 for nobody", words_of("user_id", "-1"), ("nobody_id", "-1")),
    Fault("ids with decimals", words_of("item_id", "7.0"), ("decimal_id", "7.0")),
    Fault("ids with blanks", words_of("user_id", " u7"), ("padded_id",)),
    Fault("strangers in test", _strange_test, ("unmet_test_users",)),
    Fault("a part of no name", _split_value, ("split_value", "tst")),
    Fault("an item twice", in_table("items", _again), ("described_twice",)),
    Fault("a user twice", in_table("users", _again), ("described_twice",)),
    Fault("an item without id", in_table("items", _set("item_id", 3, None)), ("missing_id",)),
    Fault("a user without id", in_table("users", _set("user_id", 3, None)), ("missing_id",)),
    Fault("items without ids", in_table("items", _rename("item_id")), ("item_table", "number")),
    Fault("users without ids", in_table("users", _rename("user_id")), ("user_table", "number")),
    Fault("float ids of items", kind_of("items", "item_id", "floats", needs="parquet"), ("float_id",)),
    Fault("titles that are lists", kind_of("items", "title", "list", needs="parquet"), ("title",)),
    Fault("no item is described", in_table("items", _other_ids("item_id", 1.0)), ("unmet_item_table",)),
    Fault(
        "half the items are described", in_table("items", _other_ids("item_id", 0.5)), ("undescribed_item",)
    ),
    Fault("no user is described", in_table("users", _other_ids("user_id", 1.0)), ("unmet_user_table",)),
    Fault(
        "half the users are described", in_table("users", _other_ids("user_id", 0.5)), ("undescribed_user",)
    ),
    Fault("a price that is a dash", _feature, ("price", "—")),
    *[Fault("a type of any kind", _wild, wild=True)] * 6,
]
