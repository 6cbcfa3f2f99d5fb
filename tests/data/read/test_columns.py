"""Columns at their limits: text beyond 2 GiB, and the few bad values among many that keep a column from being
read."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.read.cells import casts
from recsys.data.read.cells.casts import one_dictionary
from recsys.data.read.columns import id_text, parse_ids, parse_weights
from recsys.ids import MAX_ID_CHARACTERS


@pytest.mark.parametrize("coded", [True, False])
def test_ids_have_64_bit_offsets_whatever_they_came_in(coded: bool) -> None:
    """Arrow's `string` holds 2 GiB; the distinct ids of a large log are more. What they are does not
    change."""
    chunks = [pa.array(["b", "a", "b"]), pa.array(["c", "a", None]), pa.array([], pa.string())]
    column = pa.chunked_array([chunk.dictionary_encode() for chunk in chunks] if coded else chunks)
    encoded = one_dictionary(column)
    assert encoded.type.value_type == pa.large_string()
    assert encoded.to_pylist() == ["b", "a", "b", "c", "a", None]
    assert encoded.dictionary.to_pylist() == ["b", "a", "c"]
    codes, findings = parse_ids(column, "user_id")
    assert codes is not None
    assert (codes.code.tolist(), codes.names.type) == ([0, 1, 0, 2, 1, -1], pa.large_string())
    assert [finding.kind for finding in findings] == ["missing_id"]
    assert id_text(column.slice(0, 5), "user_id", "here").to_pylist() == ["b", "a", "b", "c", "a"]


@pytest.mark.parametrize("bad", [{0}, {999}, {3, 4, 500, 998}, set(range(1000))])
def test_bad_values_are_all_found_wherever_they_stand(bad: set[int]) -> None:
    words = [f"word {k}" if k in bad else str(k / 7) for k in range(1000)]
    raw = [b"\xff%d" % k if k in bad else b"%d" % k for k in range(1000)]
    codes = np.random.default_rng(1).integers(0, 1000, 3000)
    expected = [int(code) in bad for code in codes]
    for values, parse in ((words, parse_weights), (raw, parse_ids)):
        column = pa.chunked_array(
            [pa.array([values[code] for code in codes[k : k + 700]]) for k in range(0, 3000, 700)]
        )
        _, (finding,) = parse(column, "x")
        assert (finding.count, finding.of) == (sum(expected), 3000)
        assert finding.first_row == expected.index(True) + 1


def test_one_bad_value_among_many_costs_few_casts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of range for its type, which no look at the text tells."""
    calls, real = [], casts.casts
    monkeypatch.setattr(casts, "casts", lambda *arguments: calls.append(1) or real(*arguments))
    values = pa.chunked_array([pa.array([*range(10_000), 300])])
    wrong = casts._stubborn(values.combine_chunks().cast(pa.int64()), pa.int16(), True)
    assert not wrong.any()
    wrong = casts._stubborn(pa.array([*range(10_000), 70_000]), pa.int16(), True)
    assert wrong.tolist() == [False] * 10_000 + [True]
    assert len(calls) < 40


def test_ids_that_no_request_can_send_are_refused_and_their_rows_left_out() -> None:
    good, bad = "x" * MAX_ID_CHARACTERS, "x" * (MAX_ID_CHARACTERS + 1)
    codes, findings = parse_ids(
        pa.chunked_array([[good, bad, "a\0", "", "é" * MAX_ID_CHARACTERS]]), "item_id"
    )
    assert codes is not None
    assert (codes.code >= 0).tolist() == [True, False, False, False, True]
    assert {finding.kind: finding.first_row for finding in findings} == {
        "long_id": 2,
        "binary_id": 3,
        "missing_id": 4,
    }
