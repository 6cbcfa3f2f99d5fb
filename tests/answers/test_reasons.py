"""Where no exact shares can be had, a reason says what an item is like, and never calls it a cause."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.answers.explain import explain
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import write
from recsys.history import Histories
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.testing.toys import random_log
from tests.helpers import bundles
from tests.helpers.towers import SMALL, publish_towers


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Towers with a layer after the sums, which no sum over a history can share out."""
    return publish_towers(tmp_path_factory.mktemp("layered"), random_log(1), history="before", hidden=8)


def cosines(bundle: Bundle, item: str, history: list[str]) -> dict[str, float]:
    """The cosine of an item with each of a history, in float64."""
    vectors = bundle.item_vectors.astype(np.float64)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    return {
        one: float(units[bundle.item_ids.index(one)] @ units[bundle.item_ids.index(item)]) for one in history
    }


def test_a_net_names_what_an_item_is_most_like_of_the_history(towers: Bundle) -> None:
    named = set()
    history = [towers.item_ids[int(item)] for item in towers.histories.items.row(2)]
    for question, had in (
        (Question("u2", k=20, reasons=20), history),
        (Question("u2", [Event("i3"), Event("i4")], k=20, reasons=20), [*history, "i3", "i4"]),
        (Question(None, [Event("i5"), Event("i6"), Event("i5")], k=20, reasons=20), ["i5", "i6"]),
    ):
        for item in respond(towers, question).items:
            alike = cosines(towers, item.item_id, had)
            best = max(alike, key=lambda one: alike[one])
            assert item.because is None
            if alike[best] <= 0:
                assert (item.reason, item.reason_code, item.like) == (None, None, None)
                continue
            assert (item.reason_code, item.like) == ("like", best)
            assert item.reason == f"like {towers.name_of(towers.item_ids.index(best))}"
            named.add(best)
    assert len(named) > 2


def test_what_was_had_but_not_learned_from_is_nothing_to_be_like(towers: Bundle) -> None:
    """An event of weight 0 and an item added after training: the encoder looks at neither."""
    likes = [item.like for item in respond(towers, Question("u2", k=20, reasons=20)).items]
    most = max({*likes} - {None}, key=likes.count)
    stored = towers.histories
    weight = np.where(stored.items.values == towers.item_ids.index(most), 0, 1).astype(np.float32)
    idle = replace(
        towers, histories=Histories(stored.items, time=stored.time, weight=weight, event=stored.event)
    )
    others = {item.like for item in respond(idle, Question("u2", k=20, reasons=20)).items}
    assert most not in others
    assert others - {None}


def test_why_says_what_it_is_like_and_that_this_is_no_cause(towers: Bundle) -> None:
    item = respond(towers, Question("u2", k=5)).items[0]
    explanation = explain(towers, "u2", item.item_id)
    assert (explanation.like, explanation.shares, explanation.exact) == (item.like, [], False)
    assert explanation.score == pytest.approx(item.score, rel=1e-4)


def test_exact_shares_are_a_cause_and_nothing_is_like(tmp_path: Path) -> None:
    bundle = load(write(tmp_path, bundles.content()))
    items = respond(bundle, Question("u4", k=30, reasons=30)).items
    assert {(item.reason_code, item.because is not None, item.like) for item in items} <= {
        ("because", True, None),
        (None, False, None),
    }
    best = explain(bundle, "u4", items[0].item_id)
    assert (best.exact, best.like) == (True, None)
    assert sum(share.share for share in best.shares) == pytest.approx(best.score, rel=1e-3)


def test_a_mixture_gives_causes_of_the_part_that_can_and_else_says_what_it_is_like(tmp_path: Path) -> None:
    data = random_log(1)
    tower = {"name": "two_tower", **SMALL, "history": "before", "hidden": 8}
    learned = make_model("mixture", {"parts": [{"name": "als", "dim": 4}, tower]}).fit(data, seed=1)
    bundle = load(write(tmp_path, content_of("mixture", learned, data)))
    codes = set()
    for item in respond(bundle, Question("u2", k=20, reasons=20)).items:
        explanation = explain(bundle, "u2", item.item_id)
        assert not explanation.exact
        assert explanation.like is not None
        added = {share.item_id: share.share for share in explanation.shares}
        assert (item.reason_code == "because") == (max(added.values()) > 0)
        named = item.because if item.reason_code == "because" else item.like
        assert named == (
            max(added, key=lambda one: added[one]) if item.reason_code == "because" else explanation.like
        )
        codes.add(item.reason_code)
    assert "because" in codes


@pytest.mark.parametrize(("days", "code"), [(30.0, "popular_now"), (None, "popular")])
def test_popular_items_say_so(tmp_path: Path, days: float | None, code: str) -> None:
    made = bundles.content(fallback_days=days)
    if days is None:
        made = replace(made, embeddings=bundles.popularity(np.arange(40.0)))
    reply = respond(load(write(tmp_path, made)), Question("nobody", k=3))
    assert {(item.reason_code, item.because, item.like) for item in reply.items} == {(code, None, None)}
