"""Who is forgotten: gone from the store, and every other place that holds one of their ids is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner

from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.events.store import EventStore
from recsys.pipelines.cli import main
from recsys.pipelines.events.export import export
from recsys.pipelines.tracking import registry
from tests.events.test_store import NOW_MS, event
from tests.helpers.service import content


def forget(user: str, *more: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(main, ["forget", user, "--json", *more])
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
    code, report = forget(cookie)
    assert code == 1
    assert (report["ids"], report["deleted"]) == (2, {"events": 2, "exposures": 0, "identities": 1})
    places = {
        (one["kind"], Path(one["path"]).relative_to(mlruns).parts[0]): one["unread"]
        for one in report["places"]
    }
    assert set(places) == {
        ("bundle", "bundles"),
        ("table", "log"),
        ("lines", "notes.jsonl"),
        ("table", "broken.parquet"),
    }
    assert [name for name, why in places.items() if why] == [("table", "broken.parquet")]
    assert Path(next(one["path"] for one in report["places"] if one["kind"] == "bundle")) == bundle
    (mlruns / "report.md").write_text(f"Asked for {cookie} and others.\n")
    (tmp_path / "own.csv").write_text(f"user,item\n{cookie},i1\n")
    (mlruns / "broken.parquet").unlink()
    notes = (mlruns / "notes.jsonl").stat()
    left = load(bundle)
    code, report = forget("u3", "--finish")  # nobody remembers that u3 was the cookie, but for the digests
    done = {one["path"]: (one["kind"], one["done"]) for one in report["places"]}
    assert done["mlruns/notes.jsonl"] == ("lines", "1 lines overwritten with blanks")
    assert done[f"mlruns/bundles/{bundle.name}"][0] == "bundle"
    tables = [path for path, (kind, _) in done.items() if kind == "table"]
    assert tables
    assert all(path.startswith("mlruns/log/outcomes/dt=") for path in tables)
    assert done["mlruns/report.md"] == ("text", "overwritten with x at 1 places")
    assert done["own.csv"] == ("text", "left: recsys did not write it")
    assert (code, json.loads(Path(report["receipt"]).read_text())["complete"]) == (1, False)
    (tmp_path / "own.csv").unlink()
    code, report = forget(cookie, "--finish")
    assert (code, report["places"]) == (0, [])
    receipt = json.loads(Path(report["receipt"]).read_text())
    assert (receipt["person"], receipt["complete"]) == (store.digest(cookie).hex(), True)
    assert any("backups" in one for one in receipt["not_reached"])
    after = (mlruns / "notes.jsonl").stat()
    assert (after.st_ino, after.st_size) == (notes.st_ino, notes.st_size)  # who appends to it loses nothing
    (mlruns / "longer.txt").unlink()  # it held other ids, which begin or end like theirs
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and cookie.encode() in path.read_bytes()
    ]
    again = load(bundle)
    assert (again.user_ids.index("u3"), again.user_ids.index("u4")) == (-1, left.user_ids.index("u4"))
    rows = ds.dataset(mlruns / "log" / "outcomes").to_table(["event_id"]).column(0).to_pylist()
    assert rows == ["e3"]
    code, report = forget("nobody-else-zyxwvuts")
    assert {one["kind"] for one in report["places"] if one["unread"] is None} == {"table"}
    said = CliRunner().invoke(main, ["forget", "who-is-that-abcdefgh"])
    assert "0 events" in said.output


class Elsewhere:
    """The artefacts of a run in a store of somebody else's: a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def download_artifacts(self, name: str, to: str) -> str:
        return str(shutil.copytree(self.folder / name, Path(to) / name))

    def log_artifacts(self, source: str, name: str) -> None:
        shutil.copytree(source, self.folder / name, dirs_exist_ok=True)


def test_a_registered_copy_in_a_store_elsewhere_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, far = tmp_path / "home", tmp_path / "far"
    monkeypatch.setenv("RECSYS_HOME", str(home))
    EventStore(home / "mlruns" / "state").append([[event(1, "u3")]], NOW_MS)
    (far / "model").mkdir(parents=True)
    publish(tmp_path / "made", content()).rename(far / "model/bundle")
    monkeypatch.setattr(registry, "registered_copies", lambda: {"run1": (Elsewhere(far), "model/bundle")})
    code, report = forget("u3", "--finish")
    assert code == 0
    assert [(one["kind"], one["path"]) for one in report["places"]] == [
        ("registered bundle", "run run1, artefact model/bundle")
    ]
    assert "u3" not in load(far / "model/bundle").user_ids
    assert "u4" in load(far / "model/bundle").user_ids
