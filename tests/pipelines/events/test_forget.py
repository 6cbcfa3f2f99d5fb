"""Who is forgotten: gone from the store, and every other place that holds one of their ids is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys.bundle.write import publish
from recsys.events.store import EventStore
from recsys.pipelines.cli import main
from recsys.pipelines.events.export import export
from tests.events.test_store import NOW_MS, event
from tests.helpers.service import content


def forget(user: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(main, ["forget", user, "--json"])
    assert done.exit_code < 2, done.output
    return done.exit_code, json.loads(done.output.splitlines()[-1])


def test_every_place_that_holds_an_id_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    mlruns, cookie = tmp_path / "mlruns", "cookie-abcdefghijklmnopq"
    store = EventStore(mlruns / "state")
    store.append([[event(1, "u3"), event(2, cookie), event(3, "nobody-else-zyxwvuts")]], NOW_MS)
    store.identify([(cookie, "u3")], NOW_MS)
    export(store, mlruns / "log")
    (mlruns / "notes.jsonl").write_text('{"user": "cookie-abcdefghijklmnopq"}\n')
    (mlruns / "empty").write_text("")
    (mlruns / "longer.txt").write_text("xu3 u3x u33 cookie-abcdefghijklmnopqr")
    (mlruns / "broken.parquet").write_text("no table")
    bundle = publish(mlruns / "bundles", content())
    code, found = forget(cookie)
    assert code == 1
    assert (found["ids"], found["deleted"]) == (2, {"events": 2, "exposures": 0, "identities": 1})
    places = {(one["kind"], Path(one["path"]).relative_to(mlruns).parts[0]): one["unread"] for one in found["places"]}
    assert set(places) == {
        ("bundle", "bundles"),
        ("table", "log"),
        ("file", "notes.jsonl"),
        ("table", "broken.parquet"),
    }
    assert [name for name, why in places.items() if why] == [("table", "broken.parquet")]
    assert Path(next(one["path"] for one in found["places"] if one["kind"] == "bundle")) == bundle
    code, found = forget("nobody-else-zyxwvuts")
    assert {one["kind"] for one in found["places"] if one["unread"] is None} == {"table"}
    said = CliRunner().invoke(main, ["forget", "who-is-that-abcdefgh"])
    assert "0 events" in said.output
