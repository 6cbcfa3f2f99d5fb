"""Out of the event store and back into learning: Parquet by day, and the store itself as data."""

import json
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner

from recsys.data.read.load import load_dataset
from recsys.errors import DataError
from recsys.events.store import EventStore, Exposure
from recsys.pipelines.cli import main
from recsys.pipelines.events.export import export
from tests.events.test_store import NOW_MS, event

SHOWN_MS = 1_700_000_000_000


def line(request: str, user: str | None, items: list[str], **changes: Any) -> bytes:
    told = dict.fromkeys(
        ("unit_id", "placement", "experiment", "phase", "arm", "propensity", "origin", "team")
    )
    told |= {
        "request_id": request,
        "user_id": user,
        "bundle_id": "b1",
        "source": "history",
        "time_ms": SHOWN_MS,
    }
    scores = [1.0 - at / 10 for at in range(len(items))]
    return orjson.dumps(told | {"items": items, "scores": scores} | changes)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(tmp_path / "state")
    made.append(
        [
            [
                event(number, f"u{number % 7}", timestamp=1_700_000_000 + number * 9_000, event="click")
                for number in range(60)
            ]
            + [event(100, "u1", kind="impression"), event(101, None, unit_id="c1")]
        ],
        NOW_MS,
    )
    made.identify([("u5", "u6")], NOW_MS)
    made.expose(
        [
            Exposure(
                "r1", SHOWN_MS, "u5", None, line("r1", "u5", ["i1", "i2"], propensity=[0.5, 0.25], arm="B")
            )
        ]
    )
    return made


def table(folder: Path) -> pd.DataFrame:
    return ds.dataset(folder, partitioning="hive").to_table().to_pandas()


def test_an_export_holds_every_row_once_by_its_day_and_goes_on_where_it_was(
    store: EventStore, tmp_path: Path
) -> None:
    to = tmp_path / "out"
    assert export(store, to) == {"outcomes": 61, "impressions": 1, "exposures": 2}
    outcomes = table(to / "outcomes").sort_values("timestamp")
    assert sorted(outcomes["event_id"]) == sorted([f"e{number}" for number in range(60)] + ["e101"])
    days = pd.to_datetime(outcomes["timestamp"], unit="s").dt.strftime("%Y-%m-%d")
    assert outcomes["dt"].astype(str).tolist() == days.tolist()
    assert days.nunique() > 5
    assert set(outcomes["user_id"].dropna()) == {"u0", "u1", "u2", "u3", "u4", "u6"}
    shown = table(to / "exposures")
    assert shown[["request_id", "user_id", "item_id", "position", "propensity", "arm"]].values.tolist() == [
        ["r1", "u6", "i1", 1, 0.5, "B"],
        ["r1", "u6", "i2", 2, 0.25, "B"],
    ]
    before = {path: path.read_bytes() for path in to.rglob("*.parquet")}
    store.append([[event(7), event(200, timestamp=1_700_000_000)]], NOW_MS)  # the first is known
    assert export(store, to) == {"outcomes": 1, "impressions": 0, "exposures": 0}
    assert export(store, to) == {"outcomes": 0, "impressions": 0, "exposures": 0}
    assert sorted(table(to / "outcomes")["event_id"]) == sorted([*outcomes["event_id"], "e200"])
    assert all(path.read_bytes() == held for path, held in before.items())


def test_an_export_that_was_cut_off_is_done_again(store: EventStore, tmp_path: Path) -> None:
    to, whole = tmp_path / "out", tmp_path / "whole"
    export(store, whole)
    export(store, to)
    (to / "exported.json").unlink()  # as if it had been killed before it said how far it came
    store.append([[event(300)]], NOW_MS)
    export(store, to)
    export(store, whole)
    pd.testing.assert_frame_equal(
        *(table(folder / "outcomes").sort_values("event_id").reset_index(drop=True) for folder in (to, whole))
    )


def test_an_export_of_another_store_is_refused(store: EventStore, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    with pytest.raises(DataError, match="holds the export of another event store"):
        export(EventStore(tmp_path / "other"), tmp_path / "out")


def test_the_store_as_data_is_the_log_that_a_csv_of_its_outcomes_is(
    store: EventStore, tmp_path: Path
) -> None:
    called = {"u5": "u6"}
    rows = [told for _, _, told in store.events() if told.kind == "outcome" and told.user_id]
    frame = pd.DataFrame([row._asdict() for row in rows])[["user_id", "item_id", "timestamp", "event"]]
    frame["user_id"] = frame["user_id"].replace(called)
    frame.to_csv(tmp_path / "log.csv", index=False)
    direct, written = load_dataset(f"events:{tmp_path / 'state'}"), load_dataset(str(tmp_path / "log.csv"))
    assert direct.digest == written.digest
    assert (len(direct.interactions), direct.n_users) == (60, 6)
    with pytest.raises(DataError, match="leave columns, on_disk and since out"):
        load_dataset(f"events:{tmp_path / 'state'}", {"user_id": "visitor"})
    with pytest.raises(DataError, match="holds no event store"):
        load_dataset(f"events:{tmp_path}")
    EventStore(tmp_path / "empty").close()
    with pytest.raises(DataError, match="holds no outcome of a person"):
        load_dataset(f"events:{tmp_path / 'empty'}")


def test_tables_of_others_are_taken_in_once_and_find_their_lists(store: EventStore, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "visitor": ["u5", "u6", "u9", "", "u1"],
            "item_id": ["i2", "i1", "i2", "i3", "i4"],
            "timestamp": [
                SHOWN_MS // 1000 + 60,
                SHOWN_MS // 1000 - 60,
                SHOWN_MS // 1000 + 60,
                SHOWN_MS // 1000,
                1_600_000_000,
            ],
            "value": [9.5, None, 1.0, 2.0, 3.0],
        }
    )
    frame.to_csv(tmp_path / "sales.csv", index=False)

    def run(*more: str) -> tuple[int, dict[str, Any]]:
        asked = [
            "events",
            "import",
            str(tmp_path / "sales.csv"),
            "--state",
            str(tmp_path / "state"),
            "--json",
            *more,
        ]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code < 2, done.output
        return done.exit_code, json.loads(done.stdout.splitlines()[-1])

    before = store.last_seq()
    code, counts = run("--col", "user_id=visitor")
    assert (code, counts["rows"], counts["accepted"], counts["joined"]) == (1, 5, 4, 1)
    assert counts["rejected"] == {"invalid_value": 1}
    assert counts["first"]["invalid_value"].startswith(f"row 4 of {tmp_path / 'sales.csv'}")
    kept = [told for _, _, told in store.events(after=before)]
    assert [(told.user_id, told.request_id, told.position, told.value) for told in kept] == [
        ("u5", "r1", 2, 9.5),  # shown a minute before
        ("u6", None, None, None),  # done before it was shown
        ("u9", None, None, 1.0),
        ("u1", None, None, 3.0),
    ]
    assert [told.timestamp for told in kept] == frame["timestamp"].drop(
        3
    ).tolist()  # of years ago, and it counts
    code, counts = run("--col", "user_id=visitor")
    assert (counts["accepted"], counts["duplicates"]) == (0, 4)
    plain = ["events", "import", str(tmp_path / "sales.csv"), "--state", str(tmp_path / "state")]
    assert "has no column 'user_id' or 'unit_id'" in CliRunner().invoke(main, plain).output
    wrong = CliRunner().invoke(main, [*plain, "--col", "visitor"])
    assert "--col visitor is not ROLE=COLUMN" in wrong.output
