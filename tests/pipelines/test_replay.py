"""Served lists asked again: traced to their bundle, and put to a challenger."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.answers.exposure import find_line
from recsys.answers.replay import TOLERANCE, furthest, read_log, replay, trace
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import assign
from recsys.bundle.write import write
from recsys.errors import DataError
from tests.helpers.command_line import answer, recsys
from tests.helpers.service import ITEMS, content, publish_toy, running


def bodies(seed: int) -> list[dict[str, Any]]:
    """Questions of all kinds."""
    rng = np.random.default_rng(seed)

    def ids(most: int) -> list[str]:
        return [ITEMS[int(at)] for at in rng.integers(0, len(ITEMS), rng.integers(0, most))]

    def one() -> dict[str, Any]:
        body: dict[str, Any] = {"k": int(rng.integers(1, 70))}
        if rng.random() < 0.7:
            body["user_id"] = f"u{rng.integers(0, 50)}"
        if rng.random() < 0.5:
            body["history"] = [{"item_id": id_, "timestamp": int(rng.integers(0, 900))} for id_ in ids(6)]
        if rng.random() < 0.3:
            body["domain"] = ("film", "book")[rng.integers(0, 2)]
        if rng.random() < 0.3:
            body["deny"] = ids(5)
        if rng.random() < 0.2:
            body["allow"] = ids(30)
        return body

    return [one() for _ in range(60)]


@pytest.fixture(scope="module")
def service_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(root of bundles, exposure log) after a service has answered."""
    folder = tmp_path_factory.mktemp("replay")
    publish_toy(folder / "bundles")
    with running(folder / "bundles", folder / "log") as service:
        for body in bodies(0):
            service.recommend(**body)
    return folder / "bundles", folder / "log"


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def bundle_of(root: Path) -> Bundle:
    return load(root / (root / "current").read_text().strip())


def test_every_logged_list_is_made_again(service_log: tuple[Path, Path]) -> None:
    root, log = service_log
    bundle, lines = bundle_of(root), lines_of(log)
    assert {line["source"] for line in lines} == {"known", "history", "fallback"}
    for line in lines:
        assert find_line(log, line["request_id"]) == line
        traced = trace(bundle, line)
        assert (traced.same, traced.furthest) == (True, 0)
        assert all(item.reason for item in traced.items if item.because)
    longest = max(lines, key=lambda line: len(line["items"]))
    assert not trace(bundle, {**longest, "items": longest["items"][::-1]}).same
    assert not trace(bundle, {**longest, "scores": [score * 1.001 for score in longest["scores"]]}).same


def test_items_that_tie_stand_in_either_order_and_others_do_not() -> None:
    then = [("a", 3.0), ("b", 2.0), ("c", 2.0 - 1e-6), ("d", 1.0)]
    swapped = [then[0], ("c", 2.0), ("b", 2.0 - 1e-6), then[3]]  # b and c by other threads
    assert 0 < furthest(swapped, then) <= TOLERANCE
    assert furthest([*then[:3], ("e", 1.0 + 1e-6)], then) <= TOLERANCE  # the last place is either's
    assert furthest([*then[:2], ("e", 2.0 - 1e-6), then[3]], then) == pytest.approx(1 / 3, rel=1e-5)
    assert furthest([then[1], then[0], *then[2:]], then) == pytest.approx(1 / 3)
    assert furthest([("b", 3.0), ("a", 2.0), *then[2:]], then) == pytest.approx(1 / 3)
    assert furthest(then[:3], then) == float("inf")
    assert furthest([], []) == 0


def test_the_command_traces_and_tells_by_its_status(service_log: tuple[Path, Path], tmp_path: Path) -> None:
    root, log = service_log
    line = lines_of(log)[3]
    places = ("--bundles", str(root), "--log")
    said = recsys(tmp_path, "trace", line["request_id"], *places, str(log))
    assert "identical" in said.stdout
    changed = tmp_path / "log"
    changed.write_text(json.dumps({**line, "items": line["items"][1:]}, separators=(",", ":")))
    result = answer(recsys(tmp_path, "trace", line["request_id"], *places, str(changed), "--json", rc=1))
    assert result["identical"] is False
    assert "no line of request" in recsys(tmp_path, "trace", "none", *places, str(log), rc=2).stderr


def test_the_same_bundle_gives_the_same_lists_and_another_one_others(
    service_log: tuple[Path, Path], tmp_path: Path
) -> None:
    root, log = service_log
    lines = lines_of(log)
    torn = tmp_path / "log"
    torn.write_text(json.dumps({"schema": 1, "items": []}) + "\n" + log.read_text() + '{"schema": 2, "torn')
    same = replay(bundle_of(root), read_log(torn))
    assert (same["requests"], same["overlap"], same["people_with_other_lists"]) == (len(lines), 1, 0)
    assert same["sources"]["before"] == same["sources"]["after"]
    short = sum(len(line["items"]) < line["question"]["k"] for line in lines)
    assert same["short"] == [short, short]
    assert {row["value"] for row in same["segments"] if row["segment"] == "domain"} == {"film", "book"}
    assert sum(row["requests"] for row in same["segments"] if row["segment"] == "source") == len(lines)
    other = load(write(tmp_path / "other", content(2)))
    report = replay(other, read_log(log))
    assert 0 < report["overlap"] < 1
    by_source = {row["value"]: row for row in report["segments"] if row["segment"] == "source"}
    assert by_source["known"]["people_with_other_lists"] == 1
    said = recsys(tmp_path, "replay", str(log), "--bundle", str(other.path), "--limit", "20")
    assert " 20 " in said.stdout.replace("|", " ")
    assert json.loads(json.dumps(report)) == report


def test_a_log_of_another_system_is_asked_too(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    bundle = bundle_of(tmp_path / "bundles")
    log = tmp_path / "theirs.jsonl"
    lines = [
        {"user_id": "u1", "items": ["i30", "i31"], "segment": "app"},
        {
            "history": ["i12", {"item_id": "i13", "timestamp": 5}],
            "items": ["i30"],
            "k": 4,
            "timestamp": 1000,
            "ms": 3.5,
        },
        {"user_id": "u2", "items": [], "domain": "opera"},
    ]
    log.write_text("\n".join(map(json.dumps, lines)))
    report = replay(bundle, read_log(log))
    assert (report["requests"], report["refused"], report["short"]) == (2, 1, [1, 0])
    assert report["latency_ms"]["before"]["p50"] == 3.5
    assert [row["value"] for row in report["segments"]] == ["app"]
    log.write_text(json.dumps({"user_id": "u1"}))
    with pytest.raises(DataError, match=r"theirs.jsonl line 1: `items` must be"):
        replay(bundle, read_log(log))
    log.write_text("")
    with pytest.raises(DataError, match="no question"):
        replay(bundle, read_log(log))


def test_deploy_gives_roles_and_goes_back(tmp_path: Path) -> None:
    root = tmp_path / "mlruns" / "bundles"
    first, second = publish_toy(root), write(root, content(2)).name
    assert answer(recsys(tmp_path, "deploy", second, "--as", "towers/b", "--json"))["arms"] == {
        "towers": {"b": second}
    }
    assert answer(recsys(tmp_path, "deploy", second, "--json"))["previous"] == first
    assert f'champion = "{first}"' in recsys(tmp_path, "deploy", "--roll-back").stdout
    assert assign(root, "towers", None).champion == first
    assert "exclude each other" in recsys(tmp_path, "deploy", first, "--roll-back", rc=2).stderr
