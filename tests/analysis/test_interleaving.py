"""Merged lists: who is preferred, by person."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.analysis.interleaving import LEAST_PEOPLE, preference, read_preference
from recsys.errors import DataError
from recsys.experiments.draft import merge_by_draft
from recsys.seeding import generator


def log(people: int, chance_of_b: float, seed: int) -> tuple[pa.Table, pa.Table]:
    """Two lists that share their top item; whoever looks clicks one item, of b with the chance."""
    rng = generator(seed, "draft log")
    shown, clicks = [], []
    for person in range(people):
        for visit in range(1 + int(rng.integers(3))):
            request = f"r{seed}-{person}-{visit}"
            merged = merge_by_draft({"a": ["top", "a1", "a2"], "b": ["top", "b1", "b2"]}, 4, request)
            shown.append((f"u{person}", request, merged.items, merged.team))
            team = "b" if rng.random() < chance_of_b else "a"
            clicked = next(item for item, of in zip(merged.items, merged.team, strict=True) if of == team)
            clicks += [(request, clicked, "click"), (request, "top", "click"), (request, clicked, "view")]
    columns = zip(*shown, strict=True)
    exposures = pa.table(
        dict(zip(("unit_id", "request_id", "items", "team"), map(list, columns), strict=True))
    )
    outcomes = pa.table(
        dict(zip(("request_id", "item_id", "event"), map(list, zip(*clicks, strict=True)), strict=True))
    )
    return exposures, outcomes


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_list_that_people_click_wins_and_common_picks_say_nothing(seed: int) -> None:
    exposures, outcomes = log(400, 0.8, seed)
    preference = read_preference(exposures, outcomes, event="click")
    assert preference.winner == "b"
    assert "go on to an A/B test" in preference.sentence
    assert preference.difference.low > 0
    assert preference.always.low < preference.difference.low
    assert preference.clicks[2] == len(exposures)  # one click on the top item of each list
    assert preference.clicks[0] + preference.clicks[1] == len(exposures)
    assert (preference.people, preference.clicked, preference.unmatched) == (400, 400, 0)
    turned = exposures.set_column(3, "team", pa.array(
        [[{"a": "b", "b": "a", None: None}[one] for one in row] for row in exposures["team"].to_pylist()]
    ))  # fmt: skip
    assert read_preference(turned, outcomes, event="click").difference.mean == pytest.approx(
        -preference.difference.mean
    )


def test_a_row_for_each_item_is_as_good_as_lists() -> None:
    exposures, outcomes = log(200, 0.8, 1)
    rows = exposures.to_pylist()
    each = [(row["unit_id"], row["request_id"], item, team) for row in rows
            for item, team in zip(row["items"], row["team"], strict=True)]  # fmt: skip
    columns = map(list, zip(*each, strict=True))
    flat = pa.table(dict(zip(("unit_id", "request_id", "item_id", "team"), columns, strict=True)))
    assert read_preference(flat, outcomes) == read_preference(exposures, outcomes)


def test_few_people_and_clicks_from_elsewhere() -> None:
    exposures, outcomes = log(LEAST_PEOPLE - 1, 0.9, 1)
    preference = read_preference(exposures, outcomes)
    assert preference.winner is None
    assert "Cannot tell yet: 49 people" in preference.sentence
    odd = pa.concat_tables(
        [outcomes, pa.table({"request_id": ["x", "r1-0-0"], "item_id": ["a1", "x"], "event": ["click"] * 2})]
    )
    assert read_preference(exposures, odd).unmatched == 2
    with pytest.raises(DataError, match="name no teams"):
        read_preference(
            exposures.set_column(3, "team", pa.array([[None] * 4] * len(exposures), pa.list_(pa.string()))),
            outcomes,
        )
    with pytest.raises(DataError, match="lists of one length"):
        read_preference(exposures.set_column(3, "team", pa.array([["a"]] * len(exposures))), outcomes)
    with pytest.raises(DataError, match="no column 'items'"):
        read_preference(exposures.drop_columns("items"), outcomes)


def test_nobody_who_differs_shows_no_preference() -> None:
    assert preference(np.zeros(100))[2:] == (0.0, 1.0)
    assert preference(np.ones(1))[2:] == (0.0, 1.0)
