"""The doctor: its measures against obvious computations, and its word on bundles with something planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle.bundle import load
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.bundle.write import write
from recsys.data.planted.world import WorldSettings, make_world
from recsys.encoders.solve import Solve
from recsys.evaluation.doctor import (
    Diagnosis,
    burstiness,
    directions,
    examine,
    fallback_agreement,
    lists_alike,
    longest_share,
    shared_ids,
)
from recsys.ids import IdMap
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.popularity import DAY_S, Popularity, fallback_order
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset
from tests.helpers import bundles

RNG = np.random.default_rng(1)


def test_alike_is_the_mean_overlap_of_all_pairs() -> None:
    ids = np.array([RNG.permutation(20)[:5] for _ in range(9)], np.int64)
    pairs = [
        len(set(a) & set(b)) / 5 for at, a in enumerate(ids) for other, b in enumerate(ids) if at != other
    ]
    assert lists_alike(ids) == pytest.approx(np.mean(pairs))
    assert lists_alike(np.tile(ids[0], (4, 1))) == 1.0


def test_directions_are_the_effective_rank_of_the_scores() -> None:
    users = RNG.normal(size=(50, 6)).astype(np.float32)
    items = (RNG.normal(size=(30, 6)) * [3, 2, 1, 0.5, 0.1, 0.01]).astype(np.float32)
    scores = (users - users.mean(axis=0)).astype(np.float64) @ items.T
    shares = np.linalg.svd(scores, compute_uv=False)[:6] ** 2
    shares /= shares.sum()
    assert directions(users, items) == pytest.approx(
        float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-4
    )
    assert directions(users, items[:, :1] * np.ones(6, np.float32)) == pytest.approx(1.0, abs=1e-6)


def test_the_longest_are_a_tenth_at_most() -> None:
    norms = np.arange(1, 41, dtype=np.float32)
    assert longest_share(np.array([[39, 36], [35, -1]]), norms) == pytest.approx(2 / 3)


def test_sessions_show_in_the_gaps() -> None:
    """Ten visits of five events each, a second apart: the users' gaps are short, shuffled ones are not."""
    user = np.repeat(np.arange(100), 50)
    time = (RNG.integers(0, 10**7, (100, 10, 1)) + np.arange(5)).ravel()
    assert burstiness(user, time, 1) < -3
    assert abs(burstiness(RNG.permutation(user), time, 1)) < 0.3


def test_plain_numbers_may_be_shared() -> None:
    assert shared_ids(["1", "2"], ["1", "3"]) is None
    assert shared_ids(["1", "anna"], ["1", "anna", "film", "book", "song"]) == 0.25


def content_of(
    days: float | None = 30.0, dim: int = 16, swap: bool = False, regularization: float = 0.03
) -> Content:
    """A trained bundle of a small world."""
    world = make_world(WorldSettings(users=800, items=200, seed=5)).dataset
    if swap:
        events = world.interactions
        world = dataset(events.item, events.user, world.n_items, world.n_users, time=events.time)
    settings = ALSSettings(dim=dim, unobserved_weight=0.02, regularization=regularization)
    histories = world.interactions.histories()
    return Content(
        name="als",
        embeddings=ALS(settings).fit(world, seed=1),
        user_ids=world.user_ids,
        item_ids=world.item_ids,
        catalogue=Catalogue.of(world.items),
        histories=histories,
        fallback=fallback_order(world.interactions, days),
        fallback_days=days,
        seen="exclude",
        lineage={},
    )


@pytest.fixture(scope="module")
def healthy() -> Content:
    return content_of()


def word(content: Content, folder: Path, age_days: float = 1.0) -> Diagnosis:
    assert content.histories.time is not None
    return examine(load(write(folder, content)), now=int(content.histories.time.max() + age_days * DAY_S))


def codes(content: Content, folder: Path, age_days: float = 1.0) -> set[str]:
    return {finding.code for finding in word(content, folder, age_days).findings}


def test_a_healthy_bundle_has_no_finding_and_every_measure(healthy: Content, tmp_path: Path) -> None:
    diagnosis = word(healthy, tmp_path)
    assert diagnosis.findings == []
    assert None not in diagnosis.measures.values()
    assert diagnosis.measures["train_serve_skew"] == 0
    assert diagnosis.measures["fallback_skew"] == 1


def test_stale_data_are_older_than_the_window_of_the_fallback(healthy: Content, tmp_path: Path) -> None:
    assert codes(healthy, tmp_path, 29.0) == set()
    assert codes(healthy, tmp_path, 31.0) == {"stale_data"}
    assert examine(load(write(tmp_path, healthy)), now=None).measures["stale_data"] is None


def test_swapped_columns_are_found(tmp_path: Path) -> None:
    assert "swapped_columns" in codes(content_of(swap=True), tmp_path)


def test_too_much_regularization_is_one_list_for_all(tmp_path: Path) -> None:
    assert {"same_list", "collapsed_space"} <= codes(content_of(regularization=3.0), tmp_path)


def test_histories_that_training_did_not_see_are_skew(healthy: Content, tmp_path: Path) -> None:
    """A tenth of the users lose the older half of their events."""
    old = healthy.histories.items
    lost = np.where(np.arange(old.rows) % 10 == 0, old.lengths // 2, 0)
    rank = np.arange(len(old.values)) - np.repeat(old.offsets[:-1], old.lengths)
    kept = rank >= np.repeat(lost, old.lengths)
    diagnosis = word(replace(healthy, histories=healthy.histories.keep(kept)), tmp_path)
    assert {finding.code for finding in diagnosis.findings} == {"train_serve_skew"}
    assert diagnosis.measures["train_serve_skew"] == pytest.approx(0.1, abs=0.02)


def test_a_fallback_of_other_events_is_skew(healthy: Content, tmp_path: Path) -> None:
    assert codes(replace(healthy, fallback=healthy.fallback[::-1].copy()), tmp_path) == {"fallback_skew"}
    whole = load(write(tmp_path, healthy))
    assert fallback_agreement(whole) == 1.0


def test_ids_of_both_kinds_are_mixed(healthy: Content, tmp_path: Path) -> None:
    items = [f"u{number:05}" if number < 20 else f"i{number}" for number in range(200)]
    assert codes(replace(healthy, item_ids=IdMap.of(items)), tmp_path) == {"mixed_ids"}


def test_vectors_scaled_by_popularity_are_found(healthy: Content, tmp_path: Path) -> None:
    counts = np.bincount(healthy.histories.items.values, minlength=200)
    items = (healthy.embeddings.items * np.maximum(counts, 1)[:, None] ** 2.0 / 1e4).astype(np.float32)
    old = healthy.embeddings.encoder
    assert isinstance(old, Solve)
    weights = {"regularization": 0.03, "unobserved_weight": 0.02, "exponent": 1.0}
    scaled = Embeddings(items, Solve(items, items.T @ items, old.table, **weights))
    assert "norms_are_popularity" in codes(replace(healthy, embeddings=scaled), tmp_path)


def test_popularity_is_not_sick_for_being_popularity(healthy: Content, tmp_path: Path) -> None:
    world = make_world(WorldSettings(users=800, items=200, seed=5)).dataset
    diagnosis = word(replace(healthy, embeddings=Popularity().fit(world, seed=1)), tmp_path)
    assert diagnosis.findings == []
    assert "by design" in diagnosis.note
    assert diagnosis.measures["same_list"] is None


def test_every_finding_says_value_cause_and_fix(tmp_path: Path) -> None:
    for finding in word(content_of(regularization=3.0), tmp_path, 100).findings:
        assert finding.cause.endswith(".")
        assert finding.fix.endswith(".")
        assert "{" not in finding.cause


def test_a_tiny_bundle_is_looked_at_without_fault(tmp_path: Path) -> None:
    for content in (bundles.content(n_users=1, n_items=3, events=1), bundles.content(timed=False)):
        examine(load(write(tmp_path, content)), now=bundles.START)
