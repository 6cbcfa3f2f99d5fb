"""A shop in a planted world: two bundles whose difference in clicks is known, and the experiment between
them.

Each bundle holds the true vectors of items, and for people their true tastes under some noise. The noise of
the control is chosen so that the other arm brings the share of clicks more that was asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.arrays import F32, F64, I64, Ragged
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.bundle.write import write
from recsys.data.planted.world import WorldSettings, make_world
from recsys.encoders.solve import Solve
from recsys.experiments.definition import Experiment
from recsys.experiments.folder import experiment_of
from recsys.history import DAY_S, Histories
from recsys.ids import IdMap
from recsys.pipelines.simulate.people import People, draw_people
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator

START = 1_796_083_200  # 2026-12-01T00:00:00Z, a Tuesday
NAME, PLACEMENT, K, RANK = "better-lists", "home", 10, 8
_NOISE, _MOST = 1.0, 8.0  # of the better arm, and at most of the other, in standard deviations of a taste
_STEPS = 22


@dataclass(frozen=True, eq=False)
class Shop:
    """people: with their tastes; user_ids, item_ids: as the bundles call them. lists: of each arm, the k
    items (n, k) that its bundle answers to each person."""

    people: People
    user_ids: list[str]
    item_ids: list[str]
    tables: Mapping[str, F32]
    lists: Mapping[str, I64]
    popular: I64
    catalogue: Catalogue
    seed: int

    def expected_clicks(self, arm: str) -> F64:
        """(n,): the clicks that a list of an arm brings from each person."""
        clicks: F64 = self.people.chances(np.arange(len(self.people)), self.lists[arm]).sum(axis=1)
        return clicks

    @property
    def effect(self) -> float:
        """By how much more people click on what the other arm shows, as a share: each weighs by their
        visits."""
        pace = 1 + 7 * self.people.pace  # a first visit, and those of the week after it
        control, better = (float((pace * self.expected_clicks(arm)).sum()) for arm in ("control", "better"))
        return better / control - 1


def make_shop(people: int, items: int, effect: float, seed: int, *, differ: float = 1.0) -> Shop:
    """A shop whose better arm brings `effect` more clicks, as near as lists allow. differ: the share of
    people for whom the arms' tastes differ at all; the others get one list in both."""
    world = make_world(
        WorldSettings(users=people, items=items, rank=RANK, events_per_user=2, days=28, seed=seed)
    )
    truth, data = world.truth, world.dataset
    crowd = draw_people(truth.user_vectors, truth.item_vectors, seed)
    drawn = {arm: generator(seed, f"noise of {arm}").standard_normal((people, RANK)).astype(np.float32)
             for arm in ("control", "better")}  # fmt: skip
    alike = generator(seed, "people alike").random(people) >= differ
    counts = np.bincount(data.interactions.item, minlength=items)
    popular = np.argsort(-counts, kind="stable")

    def shop(noise: float) -> Shop:
        tables = {"control": truth.user_vectors + np.float32(noise) * drawn["control"],
                  "better": truth.user_vectors + np.float32(_NOISE) * drawn["better"]}  # fmt: skip
        tables["control"][alike] = tables["better"][alike]
        lists = {arm: _top(table, truth.item_vectors) for arm, table in tables.items()}
        ids = [list(one) for one in (data.user_ids, data.item_ids)]
        catalogue = Catalogue.of(data.items)
        return Shop(crowd, ids[0], ids[1], tables, lists, popular, catalogue, seed)

    low, high = 0.0, _MOST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if shop(middle).effect < effect else (low, middle)
    return shop((low + high) / 2)


def _top(table: F32, items: F32) -> I64:
    """int (n, k): the items with the largest inner products; ties go to the lower index."""
    return np.argsort(-(table @ items.T), axis=1, kind="stable")[:, :K]


def publish(root: Path, shop: Shop, arm: str, *, learned_until: int = START - DAY_S) -> str:
    """Writes the bundle of an arm into a root; its id. Its events have types of their own, so that what
    people do while it is served enters no history: the lists of a person stay."""
    items = shop.people.items
    encoder = Solve(
        items, items.T @ items, shop.tables[arm], regularization=0.1, unobserved_weight=0.1, exponent=1.0
    )
    empty = Histories(Ragged.empty(len(shop.people)), time=np.empty(0, np.int64), event=np.empty(0, np.int8))
    content = Content(
        name=f"simulated {arm}",
        embeddings=Embeddings(items, encoder),
        user_ids=IdMap.of(shop.user_ids),
        item_ids=IdMap.of(shop.item_ids),
        catalogue=shop.catalogue,
        histories=empty,
        fallback=shop.popular.astype(np.int32),
        fallback_days=None,
        seen="allow",
        lineage={"data": "a planted world", "seed": shop.seed, "arm": arm, "train": {"last": learned_until}},
        event_names=("before",),
    )
    return write(root, content).name


def experiment(
    bundles: Mapping[str, str], *, people: int, starts: int = START, salt: str = "s"
) -> Experiment:
    """The experiment between the two arms, with its plan. people: with whole windows, for the analysis."""
    plan = {
        "people": max(1_000, people),
        "window_days": 7,
        "past_days": 7,
        "metrics": [
            {"name": "clicks", "event": "click", "role": "primary", "mde": 0.05},
            {"name": "buys", "event": "buy", "role": "guardrail", "margin": 0.5},
        ],
    }
    phase = {"salt": salt, "starts": starts, "weights": {"control": 0.5, "better": 0.5}}
    return experiment_of(
        {
            "control": "control",
            "hypothesis": "Lists made with less noise bring more clicks.",
            "placement": PLACEMENT,
            "arms": {arm: {"bundle": bundle} for arm, bundle in bundles.items()},
            "plan": plan,
            "phases": [phase],
        },
        NAME,
        where="the simulator",
    )
