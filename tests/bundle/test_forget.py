"""People taken out of a bundle: nothing of theirs is left, everybody else is answered as before, and its id
stays."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import durable
from recsys.answers.question import Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.forget import first_seal, forget_rows, rows_in
from recsys.bundle.manifest import verify
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.testing.toys import random_log
from tests.helpers.service import USERS, content

SMALL: dict[str, dict[str, Any]] = {
    "als": {"dim": 8},
    "softmax": {"dim": 8, "epochs": 1},
    "two_tower": {"dim": 8, "epochs": 1},
    "sequence": {"dim": 8, "epochs": 1, "widened": 16, "layers": 1},
}


def lists(bundle: Bundle, people: list[str]) -> dict[str, list[tuple[str, float]]]:
    return {
        one: [(item.item_id, item.score) for item in respond(bundle, Question(one, k=10)).items]
        for one in people
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", SMALL)
def test_others_are_answered_as_before_and_nothing_of_the_forgotten_is_left(
    name: str, tmp_path: Path
) -> None:
    log = random_log(3, n_users=30, n_items=25, n=600)
    learned: Any = make_model(name, SMALL[name]).fit(log, seed=1)
    folder = publish(tmp_path, content_of(name, learned, log))
    before = load(folder)
    people, rows = list(before.user_ids), np.array([0, 7], np.int32)
    gone = [people[row] for row in rows]
    others = [one for one in people if one not in gone]
    said, seal = lists(before, others), first_seal(folder, before.manifest)
    forget_rows(folder, rows)
    after = load(folder)
    assert (after.bundle_id, current(tmp_path)) == (before.bundle_id, folder)
    assert first_seal(folder, after.manifest) == seal  # by which its run knows it
    assert after.manifest["space_id"] == before.manifest["space_id"]
    assert lists(after, others) == said
    for one in gone:
        assert one not in after.user_ids
        assert respond(after, Question(one, k=3)).source == "fallback"
    assert not any(after.histories.lengths[rows])
    assert after.manifest["counts"]["users"] == 28
    assert after.manifest["counts"]["events"] == len(after.histories) < len(before.histories)
    assert all(one["index"] not in rows for one in json.loads((folder / "golden.json").read_bytes()))
    if after.encoder.knows_users:
        users = after.encoder.without_rows(np.arange(30, dtype=np.int32))
        assert type(users) is type(after.encoder)
        table = getattr(after.encoder, "table", None)
        if table is None and hasattr(after.encoder, "net"):
            table = after.encoder.net.table  # type: ignore[attr-defined]
        assert table is None or not table[rows].any()
    hidden = rows_in(folder, gone)
    assert len(hidden) == 0
    forget_rows(folder, rows_in(folder, others[:1]))
    assert load(folder).manifest["forgotten"] == {"people": 3, "first_seal": seal}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("in_one", [True, False])
def test_killed_at_any_step_a_bundle_is_whole_and_the_next_try_ends_as_the_first(
    in_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """in_one: whether the system exchanges two folders in one step."""
    made, fsync = publish(tmp_path / "made", content()), durable.fsync
    rows, calls = rows_in(made, USERS[3:5]), 0
    if not in_one:
        monkeypatch.setattr(durable, "_exchange", lambda first, second: False)

    def forget(name: str, killed_at: int) -> Path:
        """A copy of the bundle, whose forgetting ends with its process at a call of fsync; 0 = never."""
        nonlocal calls
        folder, calls = tmp_path / name / made.name, 0
        shutil.copytree(made, folder)

        def count(path: Path) -> None:
            nonlocal calls
            calls += 1
            if calls == killed_at:
                raise Killed
            fsync(path)

        monkeypatch.setattr(durable, "fsync", count)
        with suppress(Killed):
            forget_rows(folder, rows)
        monkeypatch.setattr(durable, "fsync", fsync)
        return folder

    new = files(forget("whole", 0))
    steps = calls
    assert files(made)["users.ids"] != new["users.ids"]
    for step in sorted({1, steps // 2, *range(steps - 3, steps + 1)}):
        folder = forget(f"{step}", step)
        durable.settle(folder)
        verify(folder)
        if len(left := rows_in(folder, USERS[3:5])):
            forget_rows(folder, left)
        assert files(folder) == new
