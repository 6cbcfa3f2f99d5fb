"""Rows of unequal length, against lists of lists."""

from itertools import pairwise

import numpy as np
import pytest

from recsys.arrays import Ragged, beside, distinct, offsets_of

CASES = {
    "mixed": [[3, 1, 3], [], [0], [5, 4]],
    "empty rows around": [[], [7], []],
    "only empty rows": [[], [], []],
    "no rows": [],
    "one row": [[2, 2, 2]],
}


def rows_of(ragged: Ragged) -> list[list[int]]:
    """Back to lists, by the definition of the offsets."""
    offsets, values = ragged.offsets.tolist(), ragged.values.tolist()
    return [values[start:end] for start, end in pairwise(offsets)]


def random_rows(seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 30, rng.integers(0, 6)).tolist() for _ in range(rng.integers(1, 40))]


CASES |= {f"random {seed}": random_rows(seed) for seed in range(5)}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def rows(request: pytest.FixtureRequest) -> list[list[int]]:
    return request.param


def test_of_holds_the_lists_in_the_promised_types(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert rows_of(ragged) == rows
    assert (ragged.offsets.dtype, ragged.values.dtype) == (np.int64, np.int32)
    assert ragged.offsets[0] == 0
    assert ragged.rows == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert [ragged.row(index).tolist() for index in range(len(rows))] == rows


def test_row_of_value_says_where_each_value_stands(rows: list[list[int]]) -> None:
    assert Ragged.of(rows).row_of_value().tolist() == [index for index, row in enumerate(rows) for _ in row]


def test_from_pairs_keeps_the_order_within_a_row_whatever_the_order_of_rows(rows: list[list[int]]) -> None:
    pairs = [(row, value) for row, values in enumerate(rows) for value in values]
    order = np.random.default_rng(3).permutation(len(pairs))
    expected: list[list[int]] = [[] for _ in range(len(rows) + 2)]
    for at in order:
        expected[pairs[at][0]].append(pairs[at][1])
    shuffled = np.array(pairs, np.int32).reshape(-1, 2)[order]
    ragged = Ragged.from_pairs(shuffled[:, 0], shuffled[:, 1], len(rows) + 2)
    assert rows_of(ragged) == expected
    assert (ragged.offsets.dtype, ragged.values.dtype) == (np.int64, np.int32)


def test_take_repeats_reorders_and_drops_rows(rows: list[list[int]]) -> None:
    for chosen in ([], list(range(len(rows)))[::-1], [index for index in range(len(rows)) for _ in range(2)]):
        taken = Ragged.of(rows).take(np.array(chosen, np.int64))
        assert rows_of(taken) == [rows[index] for index in chosen]
        assert (taken.offsets.dtype, taken.values.dtype) == (np.int64, np.int32)


def test_positions_index_arrays_beside_the_values(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    names = np.array(
        [f"{row}.{place}" for row, values in enumerate(rows) for place in range(len(values))], dtype=object
    )
    chosen = list(range(len(rows)))[::-1]
    labels = names[ragged.positions(np.array(chosen, np.int64))].tolist()
    assert labels == [f"{row}.{place}" for row in chosen for place in range(len(rows[row]))]


def test_keep_drops_values_and_never_a_row(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    kept = ragged.keep(ragged.values % 2 == 1)
    assert rows_of(kept) == [[value for value in row if value % 2] for row in rows]


def test_distinct_sorts_each_row_without_duplicates(rows: list[list[int]]) -> None:
    sets = distinct(Ragged.of(rows), 30)
    assert rows_of(sets) == [sorted(set(row)) for row in rows]
    assert (sets.offsets.dtype, sets.values.dtype) == (np.int64, np.int32)


def test_distinct_survives_keys_beyond_32_bits() -> None:
    n_values = 2_000_000_000
    rows: list[list[int]] = [[]] * 4 + [[n_values - 1, 0, n_values - 1]]
    assert rows_of(distinct(Ragged.of(rows), n_values)) == [[], [], [], [], [0, n_values - 1]]


def test_beside_joins_rows_part_after_part(rows: list[list[int]]) -> None:
    other = [[9, index] for index in range(len(rows))]
    third = [row[:1] for row in rows]
    joined = beside(Ragged.of(rows), Ragged.of(other), Ragged.of(third))
    assert rows_of(joined) == [a + b + c for a, b, c in zip(rows, other, third, strict=True)]
    assert rows_of(beside(Ragged.of(rows))) == rows


def test_empty_has_rows_without_values() -> None:
    assert rows_of(Ragged.empty(3)) == [[], [], []]
    assert Ragged.empty(0).rows == 0


def test_offsets_of_does_not_wrap_at_32_bits() -> None:
    offsets = offsets_of(np.array([2_000_000_000, 2_000_000_000], np.int32))
    assert offsets.tolist() == [0, 2_000_000_000, 4_000_000_000]
