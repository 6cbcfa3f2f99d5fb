"""A day of everything, and then a person asks to be forgotten: no byte of their id is left below the home,
and all others are answered as before, by the service that ran on all the while."""

import json
import secrets
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.keys import make_key
from recsys.pipelines.cli import main
from tests.helpers.service import Running, running
from tests.serving.test_life import wait_for

TINY = ["model.dim=8", "model.epochs=1", "split.kind=leave_last_out", "metrics=['ndcg_at_10']"]
PEOPLE, ITEMS = 40, 25


def recsys(*arguments: str) -> Any:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def holding(home: Path, word: str) -> list[str]:
    """Every file below a home, and every name, in which a word stands."""
    paths = list(home.rglob("*"))
    named = [path.as_posix() for path in paths if word in path.name]
    return named + [
        path.as_posix() for path in paths if path.is_file() and word.encode() in path.read_bytes()
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic).*")
def test_no_byte_of_an_id_is_left_and_others_are_answered_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlruns, state = tmp_path / "mlruns", tmp_path / "mlruns" / "state"
    person, cookie = ("".join(secrets.choice(string.ascii_lowercase) for _ in range(24)) for _ in range(2))
    key, _ = make_key(state / "keys.json", "all", ["read", "write", "admin"])
    rng, people = np.random.default_rng(1), [person, cookie, *(f"u{number}" for number in range(PEOPLE))]
    told = [
        {
            "event_id": f"{row}-{at}",
            "kind": "outcome",
            "event": "click",
            "user_id": who,
            "item_id": f"i{item}",
        }
        for row, who in enumerate(people)
        for at, item in enumerate(rng.permutation(ITEMS)[:8])
    ]
    table = tmp_path / "told.jsonl"
    table.write_text(
        "".join(json.dumps(one | {"timestamp": 1_790_000_000 + at}) + "\n" for at, one in enumerate(told))
    )
    recsys("events", "import", str(table))
    table.unlink()
    first = recsys("train", "events:", *TINY)
    recsys("promote", first["run_id"])
    recsys("export", first["run_id"])
    recsys("events", "export", str(mlruns / "log"))
    recsys("recommend", str(mlruns / "bundles"), "--all-users", "--k", "5", "--out", str(mlruns / "lists"))
    (mlruns / "checkpoints" / "abc").mkdir(parents=True)
    (mlruns / "checkpoints" / "abc" / "rows.npy").write_bytes(person.encode())  # of a run that was killed
    head = {"authorization": f"Bearer {key}"}

    def ask(service: Running, who: str | None, **more: Any) -> Any:
        answer = service.ask("POST", "/v1/recommend", {"user_id": who, "k": 10, **more}, head)
        assert answer.status == 200, answer.body
        return answer.json

    def of_others(service: Running) -> list[list[tuple[str, float]]]:
        return [
            [(item["item_id"], item["score"]) for item in ask(service, f"u{number}")["items"]]
            for number in range(PEOPLE)
        ]

    log = mlruns / "exposures.jsonl"
    with running(
        mlruns / "bundles", log, "--state", str(state), "--access-log", str(mlruns / "access.log")
    ) as service:
        for who in (person, cookie, "u1"):
            ask(service, who, unit_id=cookie)
    with running(mlruns / "bundles", Path("store"), "--state", str(state)) as service:
        before = of_others(service)
        assert ask(service, person, unit_id=cookie)["source"] != "fallback"
        for path, body in (
            ("/v1/identities", {"from": cookie, "to": person}),
            (
                "/v1/events",
                [{**told[0], "event_id": "late"}, {**told[0], "event_id": "more", "unit_id": cookie}],
            ),
        ):
            assert service.ask("POST", path, body, head).status == 200
        recsys("events", "export", str(mlruns / "log"))
        assert len(holding(tmp_path, person)) > 4
        gone = service.ask("DELETE", f"/v1/users/{person}", None, head)
        assert gone.status == 200
        report = recsys("forget", person, "--finish")
        kinds = {one["kind"] for one in report["places"]}
        assert kinds == {"bundle", "table", "lines", "checkpoint"}
        assert sum(one["kind"] == "bundle" for one in report["places"]) == 3  # trained, registered, exported
        wait_for(lambda: not _open_files(service))  # it has let the old edition go by itself
        for who in (person, cookie):
            assert ask(service, who, profile=False)["source"] == "fallback"
        assert of_others(service) == [
            [(item, pytest.approx(score, abs=1e-6)) for item, score in one] for one in before
        ]
    assert holding(tmp_path, person) == holding(tmp_path, cookie) == []
    lines = [json.loads(line) for line in log.read_bytes().splitlines() if line.strip()]
    assert [line["user_id"] for line in lines] == []  # the list of u1 was shown to the cookie as well
    receipt = json.loads(Path(report["receipt"]).read_text())
    assert (receipt["complete"], receipt["ids"]) == (True, 2)
    exported = recsys(
        "export", "champion", "--to", str(tmp_path / "again")
    )  # from the registered version or the run's
    assert person not in (Path(exported["bundle"]) / "users.ids").read_bytes().decode("latin-1")


def _open_files(service: Running) -> list[str]:
    """Files that the service has mapped into memory, those that are deleted among them."""
    return [
        line
        for line in Path(f"/proc/{service.pid}/maps").read_text().splitlines()
        if "bundles" in line and "(deleted)" in line
    ]
