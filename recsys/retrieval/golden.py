"""Golden queries: a few questions whose answers are written into a bundle by the exact scan and replayed at load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import Ragged
from recsys.errors import BundleError
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.users import Users

_K = 10
_PEOPLE = 8
_LONGEST = 50
_RELATIVE = 1e-4


def make_golden(recommender: Recommender, histories: Ragged) -> list[dict[str, Any]]:
    """Known users, the same people as unknown ones with a history, and a stranger, with their answers."""
    active = np.flatnonzero(histories.lengths)
    people = active[np.linspace(0, len(active) - 1, min(_PEOPLE, len(active))).astype(int)] if len(active) else []
    asked = [(int(row), histories.row(row)[-_LONGEST:].tolist()) for row in people]
    questions = asked + [(-1, history) for _, history in asked] + [(-1, [])]
    return [_answered(recommender, index, history) for index, history in questions]


def _answered(recommender: Recommender, index: int, history: Sequence[int]) -> dict[str, Any]:
    users = Users(np.array([index], np.int32), Ragged.of([history]))
    answer = recommender.recommend(users, min(_K, recommender.n_items))
    found = answer.ids[0] >= 0
    return {
        "index": index,
        "history": list(history),
        "source": int(answer.source[0]),
        "ids": answer.ids[0][found].tolist(),
        "scores": answer.scores[0][found].tolist(),
    }


def check_golden(recommender: Recommender, golden: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Raises BundleError where an answer differs by more than rounding: scores by 1e-4, ids that are not near-ties."""
    for number, expected in enumerate(golden):
        found = _answered(recommender, expected["index"], expected["history"])
        if not _agree(expected, found):
            raise BundleError(
                f"{folder}: golden query {number} answers items {found['ids']}, not {expected['ids']} as when it was "
                "written. This machine computes differently; export the bundle again with its library versions."
            )


def _agree(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if expected["source"] != found["source"] or len(expected["ids"]) != len(found["ids"]):
        return False
    wanted, got = np.array(expected["scores"]), np.array(found["scores"])
    if not np.allclose(wanted, got, rtol=_RELATIVE, atol=1e-6):
        return False
    moved = np.flatnonzero(np.array(expected["ids"]) != np.array(found["ids"]))
    near = np.isclose(wanted[:-1], wanted[1:], rtol=2 * _RELATIVE, atol=2e-6)  # rank r is tied with rank r + 1
    tied = np.concatenate([near, [True]]) | np.concatenate([[False], near])
    return bool(tied[moved].all())
