"""Bodies: what is read by hand is what the model would have read."""

import json
from typing import Any

import pytest

from recsys.answers.question import MAX_K
from recsys.ids import MAX_ID_CHARACTERS
from recsys.serving.body import parse_body, request_in
from recsys.serving.problems import Problem
from recsys.serving.schemas import RecommendRequest

VALUES: dict[str, list[Any]] = {
    "user_id": [
        "42",
        "é",
        "",
        "x" * MAX_ID_CHARACTERS,
        "x" * (MAX_ID_CHARACTERS + 1),
        None,
        42,
        True,
        ["42"],
    ],
    "k": [1, MAX_K, 0, MAX_K + 1, -1, True, 10.0, "10", None],
    "reasons": [0, MAX_K, -1, MAX_K + 1, False, 1.5, None],
}


def by_model(body: bytes) -> Any:
    try:
        return parse_body(body, RecommendRequest)
    except Problem as problem:
        return vars(problem)


def by_hand(body: bytes) -> Any:
    try:
        return request_in(body)
    except Problem as problem:
        return vars(problem)


@pytest.mark.parametrize("field", VALUES)
def test_a_short_body_means_what_the_model_says(field: str) -> None:
    for value in VALUES[field]:
        for others in (
            {},
            {"user_id": "42"},
            {"user_id": "42", "k": 3},
            {"k": 3, "reasons": 2},
            {"user_id": "a", "b": 1},
        ):
            body = json.dumps({**others, field: value}).encode()
            assert by_hand(body) == by_model(body), body
