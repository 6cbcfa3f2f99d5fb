"""Experiments in the service: who gets which arm, what is written down of it, and what happens where an arm
fails."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from recsys.answers.replay import trace
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.trials import ramp_experiment, start_experiment, stop_experiment
from recsys.events.clock import keep_time
from recsys.events.store import EventStore
from recsys.experiments.assignment import Assigner
from recsys.experiments.definition import Experiment
from recsys.experiments.folder import experiment_of
from recsys.experiments.frozen import experiments_of, read_frozen
from recsys.keys import make_key
from tests.helpers.service import USERS, Running, publish_toy, running
from tests.serving.test_life import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow

NOW = 1_800_000_000
STARTS = NOW + 100


def definition(root: Path, older: str) -> Experiment:
    """Five arms: as it is, another bundle, another rule, chance, and two lists merged."""
    arms = ("control", "wide", "again", "curious", "merged")
    return experiment_of(
        {
            "control": "control",
            "placement": "home",
            "testers": {"tester": "again"},
            "arms": {
                "wide": {"bundle": older},
                "again": {"seen": "allow"},
                "curious": {"explore": {"epsilon": 0.5, "position": 2, "candidates": 20}},
                "merged": {"interleave": ["control", "wide"]},
            },
            "phases": [
                {
                    "salt": "s",
                    "starts": STARTS,
                    "weights": dict.fromkeys(arms, 0.2),
                    "where": {"adult": True},
                },
            ],
        },
        "five",
        where="five.toml",
    )


class Shop:
    """A service of two bundles under a clock of ours."""

    def __init__(self, service: Running, root: Path, clock: Path, older: str, newer: str) -> None:
        self.service, self.root, self.clock, self.older, self.newer = service, root, clock, older, newer
        self.opened: dict[str, Bundle] = {}

    def home(self, user: str, **body: Any) -> Any:
        return self.service.recommend(user_id=user, placement="home", features={"adult": True}, **body)

    def line(self, answer: Any) -> Any:
        return next(one for one in self.service.lines() if one["request_id"] == answer["request_id"])

    def bundle(self, bundle_id: str) -> Bundle:
        if bundle_id not in self.opened:
            self.opened[bundle_id] = load(self.root / bundle_id, verified=True)
        return self.opened[bundle_id]

    def serves(self) -> Any:
        return self.service.ask("GET", "/v1/model").json["deployment"]

    def assignment(self, user: str, name: str = "five") -> Any:
        path = f"/v1/experiments/{name}/assignment?unit_id={user}&attributes=%7B%22adult%22:true%7D"
        return self.service.ask("GET", path)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    root, clock = folder / "bundles", folder / "clock"
    older, newer = publish_toy(root, 1), publish_toy(root, 2)
    start_experiment(root, definition(root, older), (), NOW)
    keep_time(clock, (STARTS + 10) * 1_000)
    options = ("--clock", str(clock), "--admin-port", "0", "--idle-check-s", "0")
    with running(root, folder / "lists.jsonl", *options) as service:
        yield Shop(service, root, clock, older, newer)


def test_people_get_the_arm_that_a_pure_function_says_and_the_line_holds_it(shop: Shop) -> None:
    (frozen,) = read_frozen(shop.root)
    assigner = Assigner(experiments_of([frozen]))
    arms = set()
    for user in USERS:
        (expected,) = assigner.assign(user, {"adult": True}, STARTS + 10)
        line = shop.line(shop.home(user, k=6))
        assert (line["experiment"], line["phase"], line["arm"]) == ("five", "0", expected.arm)
        assert line["time_ms"] == (STARTS + 10) * 1_000
        told = shop.assignment(user).json
        assert told == {
            "experiment": "five",
            "unit_id": user,
            "phase": 0,
            "arm": expected.arm,
            "reason": "assigned",
        }
        assert line["bundle_id"] == (shop.older if expected.arm == "wide" else shop.newer)
        arms.add(expected.arm)
        opened = {one: shop.bundle(one) for one in (shop.older, shop.newer)}
        assert trace(opened[line["bundle_id"]], line, opened).same, line
        if expected.arm == "curious":
            assert len(line["propensity"]) == len(line["items"])
            assert all(0 < chance <= 1 for chance in line["propensity"])
            assert line["propensity"][0] == 1
        elif expected.arm == "merged":
            assert set(line["team"]) <= {"control", "wide", None}
            assert len(line["team"]) == len(line["items"]) == len(set(line["items"]))
        else:
            assert line["propensity"] is None
            assert line["team"] is None
    assert arms == {"control", "wide", "again", "curious", "merged"}


def test_rules_of_a_request_hold_in_every_arm_and_a_page_never_repeats(shop: Shop) -> None:
    for user in USERS[:20]:
        first = shop.home(user, k=50)
        deny = [item["item_id"] for item in first["items"][:5]]
        for body in ({"deny": deny}, {"domain": "film"}, {"deny": deny, "domain": "book"}):
            items = [item["item_id"] for item in shop.home(user, k=50, **body)["items"]]
            assert len(items) == len(set(items))
            assert not set(items) & set(body.get("deny", ()))
            if "domain" in body:
                domain = shop.bundle(shop.newer).catalogue.domains[str(body["domain"])]
                assert set(items) <= set(shop.bundle(shop.newer).item_ids.take(domain))
        one = shop.home(user, k=4, cursor="")
        two = shop.home(user, k=4, cursor=one["cursor"])
        assert not {item["item_id"] for item in one["items"]} & {item["item_id"] for item in two["items"]}


def test_reasons_come_for_the_best_places_of_any_arm(shop: Shop) -> None:
    for user in USERS[:20]:
        items = shop.home(user, k=8, reasons=3)["items"]
        assert all(item["reason"] for item in items[:3])


def test_who_is_not_in_it_gets_the_champion_and_no_name(shop: Shop) -> None:
    plain: list[Any] = [
        shop.service.recommend(user_id="u1", placement="cart", features={"adult": True}),
        shop.service.recommend(user_id="u1", placement="home"),
        shop.service.recommend(user_id="u1", placement="home", features={"adult": True}, profile=False),
        shop.service.recommend(placement="home", features={"adult": True}),
    ]
    for answer in plain:
        line = shop.line(answer)
        assert (line["experiment"], line["arm"], line["phase"], line["bundle_id"]) == (
            None,
            None,
            None,
            shop.newer,
        )
        assert "recipe" not in line
    unit = shop.service.recommend(user_id="u1", unit_id="tester", placement="home", features={"adult": True})
    assert shop.line(unit)["arm"] == "again"
    assert shop.assignment("tester").json["reason"] == "tester"
    assert shop.assignment("u1", "six").json["code"] == "unknown_experiment"
    assert shop.service.ask("GET", "/v1/experiments/five/assignment").status == 422
    assert shop.service.ask("GET", "/v1/experiments/five/assignment?unit_id=u&attributes=3").status == 422


def test_an_assignment_made_elsewhere_is_taken_and_an_unknown_arm_refused(shop: Shop) -> None:
    answer = shop.service.recommend(user_id="u1", experiment="five", arm="wide")
    line = shop.line(answer)
    assert (line["arm"], line["bundle_id"], line["phase"]) == ("wide", shop.older, "0")
    refused = shop.service.ask(
        "POST", "/v1/recommend", {"user_id": "u1", "experiment": "five", "arm": "wdie"}
    )
    assert (refused.status, refused.json["code"]) == (422, "unknown_arm")
    assert "five/wide" in refused.json["detail"]


def test_a_batch_is_assigned_request_by_request(shop: Shop) -> None:
    body = [{"user_id": user, "placement": "home", "features": {"adult": True}} for user in USERS]
    answers = shop.service.ask("POST", "/v1/recommend:batch", {"requests": body}).json["answers"]
    assert {shop.line(answer)["arm"] for answer in answers} == {
        "control",
        "wide",
        "again",
        "curious",
        "merged",
    }


def test_a_bundle_that_disappears_leaves_the_champion_and_a_counted_reason(tmp_path: Path) -> None:
    root, clock = tmp_path / "bundles", tmp_path / "clock"
    older, newer = publish_toy(root, 1), publish_toy(root, 2)
    phase = {"salt": "s", "starts": STARTS, "weights": {"control": 0.5, "wide": 0.5}}
    plain = {"control": "control", "arms": {"wide": {"bundle": older}}, "phases": [phase]}
    start_experiment(root, experiment_of(plain, "two", where="two.toml"), (), NOW)
    shutil.rmtree(root / older)
    keep_time(clock, (STARTS + 10) * 1_000)
    options = ("--clock", str(clock), "--admin-port", "0", "--idle-check-s", "0")
    with running(root, tmp_path / "log", *options) as service:
        shop = Shop(service, root, clock, older, newer)
        wide = [user for user in USERS if shop.assignment(user, "two").json["arm"] == "wide"]
        assert wide
        for user in wide[:5]:
            line = shop.line(service.recommend(user_id=user))
            assert (line["arm"], line["bundle_id"]) == ("wide", newer)
            assert trace(shop.bundle(newer), line).same
        assert service.admin is not None
        with urlopen(f"{service.admin}/metrics") as page:
            text = page.read().decode()
        assert 'recsys_arm_fallbacks_total{arm="two/wide",reason="not_loaded"} 5.0' in text
        assert list(shop.serves()["quarantined"]) == [older]
        assert service.ask("GET", "/v1/health/ready").json["status"] == "degraded"
        keep_time(clock, (STARTS - 10) * 1_000)
        early = service.ask("POST", "/v1/recommend", {"user_id": "u1", "experiment": "two", "arm": "wide"})
        assert (early.status, early.json["code"]) == (422, "unknown_arm")
        assert shop.assignment("u1", "two").json == {
            "experiment": "two", "unit_id": "u1", "phase": None, "arm": None, "reason": "does not run",
        }  # fmt: skip
        keep_time(clock, (STARTS + 10) * 1_000)
        before = shop.serves()["experiments"]
        stop_experiment(root, "two", STARTS + 60, STARTS + 20)
        wait_for(lambda: shop.serves()["experiments"] != before)
        assert shop.line(service.recommend(user_id=wide[0]))["arm"] == "wide"
        keep_time(clock, (STARTS + 60) * 1_000)
        assert shop.line(service.recommend(user_id=wide[0]))["arm"] is None
        wait_for(lambda: shop.serves()["experiments"] == {} and not shop.serves()["quarantined"])
        assert shop.assignment("u1", "two").status == 404


def test_a_clock_is_for_this_machine_alone(tmp_path: Path) -> None:
    make_key(tmp_path / "keys.json", "us", ["read"])
    publish_toy(tmp_path / "bundles")
    for words, options in (
        (
            "which no simulator asks from",
            ("--clock", "x", "--host", "0.0.0.0", "--keys", str(tmp_path / "keys.json")),
        ),
        (r"the clock .* cannot be read", ("--clock", str(tmp_path / "none"))),
    ):
        with (
            pytest.raises(AssertionError, match=words),
            running(tmp_path / "bundles", tmp_path / "log", *options),
        ):
            pass


def test_nobody_is_in_two_arms_while_two_workers_ramp_and_stop_under_load(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    older = publish_toy(root, 1)
    publish_toy(root, 2)
    people = [f"p{number}" for number in range(300)]
    options = (
        "--workers",
        "2",
        "--poll-s",
        "0.05",
        "--idle-check-s",
        "0",
        "--state",
        str(tmp_path / "state"),
    )
    with running(root, Path("store"), *options) as service:
        now = int(time.time())
        phase: dict[str, Any] = {"salt": "s", "starts": now + 4, "weights": {"control": 0.5, "wide": 0.5}}
        phase["ramp"] = [{"at": now + 4, "share": 0.3}]
        plain = {"control": "control", "arms": {"wide": {"bundle": older}}, "phases": [phase]}
        start_experiment(root, experiment_of(plain, "two", where="two.toml"), (), now, lead_s=1)
        ended, faults = threading.Event(), list[Any]()

        def ask(seed: int) -> None:
            rng = random.Random(seed)
            while not ended.wait(0.01):
                answer = service.ask("POST", "/v1/recommend", {"user_id": rng.choice(people), "k": 3})
                if answer.status != 200:
                    faults.append(answer.body)

        clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for client in clients:
            client.start()
        wait_for(lambda: time.time() > now + 4.5)
        moment = int(time.time())
        ramp_experiment(root, "two", 1.0, moment + 2, moment, lead_s=1)
        wait_for(lambda: time.time() > moment + 2.5)
        later = int(time.time())
        stop_experiment(root, "two", later + 2, later, lead_s=1)
        wait_for(lambda: time.time() > later + 3)
        ended.set()
        for client in clients:
            client.join()
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(PATIENCE_S) == 0
    assert not faults
    (frozen,) = read_frozen(root)
    assigner = Assigner(experiments_of([frozen]))
    seen: dict[str, set[str]] = {}
    for _, text in EventStore(tmp_path / "state").exposures():
        line = json.loads(text)
        expected = [one.arm for one in assigner.assign(line["user_id"], {}, line["now_s"])]
        assert [line["arm"]] == (expected or [None]), (line, expected)
        if line["arm"] is not None:
            seen.setdefault(line["user_id"], set()).add(line["arm"])
    assert len(seen) > 200
    assert all(len(arms) == 1 for arms in seen.values())
