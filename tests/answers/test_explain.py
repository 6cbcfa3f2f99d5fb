"""Why a user gets an item: ranks and shares against a slow, obvious computation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.answers.explain import explain
from recsys.answers.person import stored_users
from recsys.answers.question import Question
from recsys.answers.respond import respond
from recsys.arrays import Ragged
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import write
from recsys.history import Histories
from tests.helpers import bundles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(write(tmp_path_factory.mktemp("bundles"), bundles.content()))


def test_the_rank_is_the_place_among_all_allowed_items(bundle: Bundle) -> None:
    for user in (0, 7, 29):
        had = set(bundle.histories.items.row(user).tolist())
        encoder = bundle.recommender.ranker.encoder
        scores = bundle.item_vectors @ encoder.table[user]  # type: ignore[attr-defined]
        allowed = [item for item in range(39) if item not in had]  # item 39 has no vector
        order = sorted(allowed, key=lambda item: (-scores[item], item))
        for place, item in enumerate(order):
            explanation = explain(bundle, f"u{user}", f"i{item}")
            assert (explanation.rank, explanation.ranked, explanation.not_because) == (
                place + 1,
                len(order),
                None,
            )
            assert explanation.score == pytest.approx(float(scores[item]), rel=1e-4, abs=1e-6)


def test_the_shares_are_those_of_the_history_and_sum_to_the_score(bundle: Bundle) -> None:
    """Each share is the score that is lost when the right-hand side of the user's equation lacks that
    event."""
    encoder = bundle.recommender.ranker.encoder  # type: ignore[attr-defined]
    explanation = explain(bundle, "u3", "i20")
    history = bundle.histories.items.row(3)
    y = encoder.inputs[history].astype(np.float64)
    total = len(history) + encoder.unobserved_weight * 40
    left = encoder.unobserved_weight * encoder.gram + y.T @ y + encoder.regularization * total * np.eye(8)
    expected = {
        f"i{item}": float(bundle.item_vectors[20] @ np.linalg.solve(left, row))
        for item, row in zip(history, y, strict=True)
    }
    assert {share.item_id: share.share for share in explanation.shares} == pytest.approx(
        expected, rel=1e-3, abs=1e-6
    )
    assert sum(share.share for share in explanation.shares) == pytest.approx(explanation.score, rel=1e-3)
    assert [share.share for share in explanation.shares] == sorted(
        (s.share for s in explanation.shares), reverse=True
    )
    assert {share.title for share in explanation.shares} == {
        bundle.catalogue.title(int(item)) for item in history
    }


def test_an_item_that_stands_twice_in_a_history_has_one_share(tmp_path: Path) -> None:
    content = bundles.content(events=4, solved=False)
    twice = content.histories.items.values.copy()
    twice[1] = twice[0]
    bundle = load(
        write(tmp_path, replace(content, histories=Histories(Ragged(content.histories.items.offsets, twice))))
    )
    explanation = explain(bundle, "u0", "i25")
    assert sorted(share.times for share in explanation.shares) == [1, 1, 2]


def test_what_cannot_be_recommended_says_why(bundle: Bundle) -> None:
    seen = bundle.item_ids[int(bundle.histories.items.row(5)[0])]
    for item, word, said in (
        (seen, "seen", "history"),
        ("i39", "no vector", "no vector"),
        ("what", "unknown", "not in"),
    ):
        explanation = explain(bundle, "u5", item)
        assert (explanation.rank, explanation.not_because) == (None, word)
        assert said in explanation.why
    assert explain(bundle, "u5", seen).shares
    assert not explain(bundle, "u5", "what").shares


def test_a_stranger_gets_the_place_in_the_fallback(bundle: Bundle) -> None:
    best = bundle.item_ids[int(bundle.recommender.fallback[0])]
    explanation = explain(bundle, "nobody", best)
    assert (explanation.rank, explanation.source, explanation.shares) == (1, "fallback", [])
    assert "by popularity" in explanation.why


def test_popularity_has_ranks_and_no_shares(tmp_path: Path) -> None:
    counts = np.arange(40, 0, -1).astype(np.float32)
    bundle = load(write(tmp_path, bundles.content(embeddings=bundles.popularity(counts), seen="allow")))
    explanation = explain(bundle, "u1", "i4")
    assert (explanation.rank, explanation.score, explanation.shares) == (5, 36.0, [])
    assert "same list for everyone" in explanation.why


def test_stored_users_are_what_a_request_with_an_id_sees(bundle: Bundle) -> None:
    rows = np.array([4, 0, 17])
    answer = bundle.recommender.recommend(stored_users(bundle, rows, now=bundles.START), 10)
    for at, row in enumerate(rows):
        single = respond(bundle, Question(f"u{row}", k=10))
        assert [bundle.item_ids[int(item)] for item in answer.ids[at]] == [
            item.item_id for item in single.items
        ]
