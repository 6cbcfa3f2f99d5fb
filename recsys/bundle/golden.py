"""Golden queries: a few questions whose answers are written into a bundle by the exact scan and replayed at
load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import Ragged
from recsys.encoders.users import Users
from recsys.errors import BundleError
from recsys.history import DTYPES, Histories
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.seen import SeenPolicy

_K = 10
_PEOPLE = 8
_LONGEST = 50
_RELATIVE = 1e-4
_SLACK = 0.05  # of the golden items that an approximate index may miss beyond its stated recall: they are few


def make_golden(recommender: Recommender, everyone: Users, needs: frozenset[str]) -> list[dict[str, Any]]:
    """Known users, the same people as unknown ones with a history, and a stranger, with their answers.

    everyone: the known users, row by row. needs: what the encoder looks at. Weights, where they have any, are
    part of the question; so are times and events where the encoder or the seen policy looks at them, and then
    it is asked at the last second of all histories.
    """
    histories = everyone.history
    active = np.flatnonzero(histories.lengths)
    people = (
        active[np.linspace(0, len(active) - 1, min(_PEOPLE, len(active))).astype(int)] if len(active) else []
    )
    policy = isinstance(recommender.seen, SeenPolicy)
    last = 0 if histories.time is None else int(histories.time.max(initial=0))
    columns = set(DTYPES) if policy else {"weight"} | needs | ({"time"} if "now" in needs else set())
    asked: list[dict[str, Any]] = []
    for row in people:
        one = histories.take(np.array([row]))
        question: dict[str, Any] = {"index": int(row), "history": one.items.values[-_LONGEST:].tolist()}
        beside = one.map_columns(lambda column: column[-_LONGEST:].tolist())
        question |= {name: values for name, values in beside.items() if name in columns}
        question |= {"now": last} if "time" in question else {}
        asked.append(question)
    stranger = {"index": -1, "history": []} | ({"time": [], "now": last} if "time" in columns else {})
    questions = asked + [question | {"index": -1} for question in asked] + [stranger]
    return [_answer_question(recommender, question) for question in questions]


def _answer_question(recommender: Recommender, question: Mapping[str, Any]) -> dict[str, Any]:
    """The question with the answer of the recommender; keys of an earlier answer are replaced."""
    beside = {name: np.array(question[name], kind) for name, kind in DTYPES.items() if name in question}
    users = Users(
        np.array([question["index"]], np.int32),
        Histories(Ragged.of([question["history"]]), **beside),
        np.array([question["now"]], np.int64) if "now" in question else None,
    )
    answer = recommender.recommend(users, min(_K, recommender.n_items))
    there = answer.ids[0] >= 0
    return {
        **question,
        "source": int(answer.source[0]),
        "ids": answer.ids[0][there].tolist(),
        "scores": answer.scores[0][there].tolist(),
    }


def check_golden(
    recommender: Recommender, golden: Sequence[Mapping[str, Any]], folder: Path, recall: float | None = None
) -> None:
    """Raises BundleError where an answer differs by more than rounding: scores by 1e-4, ids that are not
    near-ties.

    recall: where the index of the bundle is not exact, the share that it finds of an exact answer, as the
    golden ones are; so much of them all must be found, with the scores that they have there.
    """
    answers = [_answer_question(recommender, question) for question in golden]
    if recall is not None:
        _check_overlap(golden, answers, folder, recall)
        return
    for number, (expected, got) in enumerate(zip(golden, answers, strict=True)):
        if not _agree(expected, got):
            raise BundleError(
                f"{folder}: golden query {number} answers items {got['ids']}, not {expected['ids']} as "
                "when it was written. This machine computes differently; export the bundle again with its "
                "library versions."
            )


def _check_overlap(
    golden: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]], folder: Path, recall: float
) -> None:
    wanted = hits = 0
    for number, (expected, got) in enumerate(zip(golden, answers, strict=True)):
        scores = dict(zip(got["ids"], got["scores"], strict=True))
        stated = zip(expected["ids"], expected["scores"], strict=True)
        common = [(one, scores[item]) for item, one in stated if item in scores]
        wanted, hits = wanted + len(expected["ids"]), hits + len(common)
        same = all(np.isclose(one, other, rtol=_RELATIVE, atol=1e-6) for one, other in common)
        if not same or expected["source"] != got["source"]:
            raise BundleError(
                f"{folder}: golden query {number} has other scores than when it was written. This machine "
                f"computes differently; export the bundle again with its library versions."
            )
    if hits < recall * wanted - _SLACK * wanted:
        raise BundleError(
            f"{folder}: its index finds {hits:,} of {wanted:,} items of the golden answers, and was "
            f"measured to find {recall:.3f} of all. It is that of other vectors; tune it again: recsys "
            "index tune."
        )


def _agree(expected: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    if expected["source"] != answer["source"] or len(expected["ids"]) != len(answer["ids"]):
        return False
    wanted, got = np.array(expected["scores"]), np.array(answer["scores"])
    if not np.allclose(wanted, got, rtol=_RELATIVE, atol=1e-6):
        return False
    moved = np.flatnonzero(np.array(expected["ids"]) != np.array(answer["ids"]))
    # rank r is tied with rank r + 1
    near = np.isclose(wanted[:-1], wanted[1:], rtol=2 * _RELATIVE, atol=2e-6)
    tied = np.concatenate([near, [True]]) | np.concatenate([[False], near])
    return bool(tied[moved].all())
