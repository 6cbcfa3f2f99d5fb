"""Weeks of a shop: the same people either ask the real service over HTTP, or write what it would have
written.

Over HTTP the service reads a clock that only this file moves, an hour at a time. Inside one process the store
gets the lines that the service would have written, for arms and lists are pure functions of what is known:
that is for many runs, and for planting what a report is to find.
"""

import http.client
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from recsys.answers.exposure import SCHEMA, uuid7
from recsys.arrays import I64
from recsys.bundle.root import point_to
from recsys.bundle.trials import start_experiment
from recsys.errors import RecsysError
from recsys.events.clock import follow, follow_machine, keep_time, now_s
from recsys.events.event import StoredEvent
from recsys.events.store import EventStore, Exposure
from recsys.experiments.frozen import Frozen
from recsys.experiments.hashing import two_places
from recsys.history import DAY_S
from recsys.pipelines.ab.served.report import report_experiment
from recsys.pipelines.commands.stage import Negative
from recsys.pipelines.console import Steps
from recsys.pipelines.service import running
from recsys.pipelines.simulate.people import draw_buys, draw_clicks, draw_visits
from recsys.pipelines.simulate.shop import NAME, PLACEMENT, START, K, Shop, experiment, publish
from recsys.progress import Progress, Step, silent
from recsys.seeding import generator

BEFORE_DAYS, STAY_DAYS = 7, 7  # of visits before the start, and after the last arrival
HOUR_S, LATER_S = 3_600, 300  # clicks come at most so many seconds after their list
_BATCH, _TOLD = 100, 500


@dataclass
class Told:
    """Outcomes of an hour, as the service takes them. number: of the first event that is told next."""

    seed: int
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Weeks:
    """A simulated test: the shop, its folder of bundles, the frozen experiment, and who comes when."""

    shop: Shop
    root: Path
    state: Path
    frozen: Frozen
    person: I64
    second: I64
    days: int
    seed: int

    @property
    def until(self) -> int:
        """The second at which the test is over and reported."""
        return START + (self.days + STAY_DAYS) * DAY_S

    def outcomes(self, person: I64, request: Sequence[str], lists: I64, second: I64, told: Told) -> None:
        """Draws what people (n,) do with lists (n, k), and adds it to what is to be told."""
        rng = generator(self.seed, f"simulated clicks {told.number}")
        row, place = draw_clicks(self.shop.people.chances(person, lists), rng)
        bought, worth = draw_buys(len(row), rng)
        at = second[row] + rng.integers(1, LATER_S, len(row))
        values: dict[int, float] = dict(zip(bought.tolist(), worth.tolist(), strict=True))
        for number, (one, where, moment) in enumerate(
            zip(row.tolist(), place.tolist(), at.tolist(), strict=True)
        ):
            common = {
                "kind": "outcome",
                "item_id": self.shop.item_ids[int(lists[one, where])],
                "user_id": self.shop.user_ids[int(person[one])],
                "timestamp": moment,
                "request_id": request[one],
                "position": where + 1,
                "placement": PLACEMENT,
            }
            told.events.append({**common, "event_id": f"{self.seed}-{told.number}", "event": "click"})
            told.number += 1
            if number in values:
                buy = {
                    "event_id": f"{self.seed}-{told.number}",
                    "event": "buy",
                    "value": round(values[number], 2),
                }
                told.events.append({**common, **buy})
                told.number += 1


def prepare(folder: Path, shop: Shop, *, days: int, seed: int, salt: str = "s") -> Weeks:
    """Publishes the bundles of a shop below a folder, and freezes the experiment, a week before it starts."""
    root = folder / "bundles"
    bundles = {arm: publish(root, shop, arm) for arm in ("control", "better")}
    point_to(root, bundles["control"])
    return freeze(root, folder / "state", shop, bundles, days=days, seed=seed, salt=salt)


def freeze(
    root: Path, state: Path, shop: Shop, bundles: dict[str, str], *, days: int, seed: int, salt: str
) -> Weeks:
    """The test between bundles that are published already, its experiment frozen."""
    begin = START - BEFORE_DAYS * DAY_S
    person, second = draw_visits(shop.people, begin, BEFORE_DAYS + days, STAY_DAYS, seed)
    inside = second >= START
    whole = len(np.unique(person[inside & (second < START + days * DAY_S)]))
    wanted = experiment(bundles, people=int(0.95 * whole), salt=salt)
    frozen = start_experiment(root, wanted, (), begin - DAY_S)
    return Weeks(shop, root, state, frozen, person, second, days, seed)


def run_served(weeks: Weeks, clock: Path, workers: int = 1, progress: Progress = silent) -> int:
    """Drives the service over HTTP through all weeks, and returns the number of lists served."""
    begin = START - BEFORE_DAYS * DAY_S
    keep_time(clock, begin * 1_000)
    place = {item: at for at, item in enumerate(weeks.shop.item_ids)}
    options = (
        "--state",
        str(weeks.state),
        "--clock",
        str(clock),
        "--poll-s",
        "0.05",
        "--workers",
        str(workers),
    )
    told = Told(weeks.seed)
    hours = _hours(weeks.second - begin)
    with running(weeks.root, *options) as url:
        service = _Service(url)
        for number, (start, stop) in enumerate(hours):
            now = begin + number * HOUR_S
            keep_time(clock, now * 1_000)
            if start < stop:
                answers = list(service.lists(weeks, weeks.person[start:stop]))
                lists = np.array([_places(one["items"], place) for one in answers], np.int64)
                asked = [one["request_id"] for one in answers]
                weeks.outcomes(weeks.person[start:stop], asked, lists, np.full(stop - start, now), told)
            keep_time(clock, (now + LATER_S) * 1_000)
            service.tell(told)
            if number % 24 == 0:
                progress(Step("weeks pass", number // 24, len(hours) // 24))
        service.close()
    return len(weeks.person)


def _places(items: Sequence[Any], place: dict[str, int]) -> list[int]:
    places = [place[item["item_id"]] for item in items]
    return places + [-1] * (K - len(places))


def _hours(since: I64) -> list[tuple[int, int]]:
    """The rows of each hour, of seconds in order."""
    hours = int(since[-1]) // HOUR_S + 1
    edges = np.searchsorted(since, np.arange(hours + 1) * HOUR_S).tolist()
    return list(pairwise(edges))


class _Service:
    """A connection to a service."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=120)

    def _ask(self, path: str, body: Any) -> Any:
        self._connection.request("POST", path, orjson.dumps(body), {"content-type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RecsysError(f"the service refused {path}: {text.decode(errors='replace')}")
        return json.loads(text)

    def lists(self, weeks: Weeks, person: I64) -> Iterator[Any]:
        users = [weeks.shop.user_ids[one] for one in person.tolist()]
        asked_of_all = {"k": K, "placement": PLACEMENT, "reasons": 0}
        for start in range(0, len(person), _BATCH):
            asked = [{"user_id": user, **asked_of_all} for user in users[start : start + _BATCH]]
            yield from self._ask("/v1/recommend:batch", {"requests": asked})["answers"]

    def tell(self, told: Told) -> None:
        """Sends the events that wait, and removes them from the list."""
        for start in range(0, len(told.events), _TOLD):
            answer = self._ask("/v1/events", told.events[start : start + _TOLD])
            if answer["rejected"] or answer["redated"]:
                raise RecsysError(f"the service did not take what was told: {answer}")
        told.events.clear()

    def close(self) -> None:
        self._connection.close()


@dataclass
class Written:
    """Lines of the exposure log and told outcomes, as a service would write them."""

    lines: list[dict[str, Any]]
    events: list[dict[str, Any]]


# the arm that is written down, the arm whose list is shown, the bundle that is named
Altered = tuple[str, str, str]
Alter = Callable[[int, int, Altered], Altered]  # of a person's list, by the second


def run_inside(weeks: Weeks, alter: Alter | None = None) -> Written:
    """The lines and outcomes of all weeks, without a service. alter: plants a fault in lists of the test."""
    phase = weeks.frozen.experiment.phases[0]
    arms = sorted(phase.weights)
    tops = list(accumulate(phase.weights[arm] for arm in arms))[:-1]
    arm_of = [arms[bisect_right(tops, two_places(phase.salt, unit)[0])] for unit in weeks.shop.user_ids]
    bundle_of = {arm: weeks.frozen.experiment.arm(arm).bundle for arm in arms}
    second = (weeks.second // HOUR_S) * HOUR_S
    lines, requests = [], []
    lists = np.empty((len(second), K), np.int64)
    for row, (person, moment) in enumerate(zip(weeks.person.tolist(), second.tolist(), strict=True)):
        arm = arm_of[person] if moment >= START else None
        shown, bundle = arm or "control", bundle_of[arm or "control"]
        if arm is not None and alter is not None:
            arm, shown, bundle = alter(person, moment, (arm, shown, bundle))
        lists[row] = weeks.shop.lists[shown][person]
        requests.append(uuid7(moment * 1_000))
        lines.append(_line(weeks, row, person, moment, arm, bundle, requests[-1], lists[row]))
    told = Told(weeks.seed)
    weeks.outcomes(weeks.person, requests, lists, second, told)
    return Written(lines, told.events)


def _line(
    weeks: Weeks, row: int, person: int, moment: int, arm: str | None, bundle: str, request: str, items: I64
) -> dict[str, Any]:
    """A line of the exposure log, as the service writes it: of a list that a person got at a second."""
    question = dict.fromkeys(("domain", "filter", "deny", "allow", "features", "history"))
    nothing = dict.fromkeys(("unit_id", "state_seq", "propensity", "origin", "team"))
    return nothing | {
        "schema": SCHEMA,
        "seq": row + 1,
        "request_id": request,
        "time_ms": moment * 1_000,
        "now_s": moment,
        "user_id": weeks.shop.user_ids[person],
        "placement": PLACEMENT,
        "experiment": NAME if arm else None,
        "phase": "0" if arm else None,
        "arm": arm,
        "bundle_id": bundle,
        "source": "known",
        "question": {"k": K, **question},
        "items": [weeks.shop.item_ids[item] for item in items.tolist()],
        "scores": [0.0] * K,
        "ms": 0.1,
    }


def store_written(weeks: Weeks, written: Written) -> None:
    """Puts lines and outcomes into the event store, as a service would have."""
    store = EventStore(weeks.state)
    exposures = [
        Exposure(line["request_id"], line["time_ms"], line["user_id"], line["unit_id"], orjson.dumps(line))
        for line in written.lines
    ]
    store.expose(exposures)
    events = [StoredEvent._make(event.get(name) for name in StoredEvent._fields) for event in written.events]
    store.append([events], weeks.until * 1_000)
    store.close()


def report_weeks(
    weeks: Weeks,
    clock: Path,
    *,
    steps: Steps | None = None,
    people: str | None = None,
    plan: Path | None = None,
) -> dict[str, Any]:
    """The report of a simulated test as plain data, by its own clock, effects of a sick one included."""
    keep_time(clock, weeks.until * 1_000)
    follow(clock)
    try:
        answer = report_experiment(
            steps or Steps(quiet=True), NAME, weeks.root, weeks.state, until=now_s(), show_sick=True,
            people=people, plan_path=plan,
        )  # fmt: skip
    finally:
        follow_machine()
    result: dict[str, Any] = answer.result if isinstance(answer, Negative) else answer
    return result
