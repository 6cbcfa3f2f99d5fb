"""Negative sampling over windows of sequences, compiled: skip-gram and CBOW, with the negatives of a window
shared, of items that have a row each or are sums of rows.

The arithmetic is that of the word2vec program, one thread and in the order of the sequences, so that equal
seeds give equal bytes. What differs: the negatives are drawn once for all pairs of a window, whose rows then
stay in the cache.

Sources: Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
NeurIPS 2013;
shared negatives: Ji et al., "Parallelizing Word2Vec in Shared and Distributed Memory", IEEE TPDS 2019.
"""

from typing import NamedTuple

import numba
import numpy as np

from recsys.arrays import F32, I32, I64

TABLE = 1 << 20  # places of the table from which negatives are drawn
_LIMIT, _STEPS = (
    8.0,
    1 << 12,
)  # beyond these scores a pair moves no further; between, so many steps of the sigmoid
_SIGMOID: F32 = (1 / (1 + np.exp(-np.linspace(-_LIMIT, _LIMIT, _STEPS)))).astype(np.float32)
_LOSS: F32 = (-np.log(_SIGMOID)).astype(np.float32)
_SCALE = np.float32((_STEPS - 1) / (2 * _LIMIT))
_njit = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")


@_njit
def draw_bits(state: I64) -> np.uint64:
    """The next 32 bits of a generator (xorshift64*), whose state int64 (1,), never 0, changes in place."""
    x = np.uint64(state[0])
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = np.int64(x)
    return (x * np.uint64(2685821657736338717)) >> np.uint64(32)


@_njit
def _learn_pair(
    given: F32, moved: F32, outputs: F32, at: I32, count: int, rate: np.float32, by: F32
) -> np.float32:
    """One vector (dim,) against the output rows `at` (count,), the first of which is right and the others are
    not.

    Moves the output rows, adds what the vector has to move by to `moved`, and returns the loss. Sigmoid and
    loss are read off tables, as in the word2vec program. by: float32 (count or more,), room. All scores come
    before the first row moves, so that none waits for another.
    """
    dim, loss, limit = len(given), np.float32(0.0), np.float32(_LIMIT)
    for place in range(count):
        row = outputs[at[place]]
        score = np.float32(0.0)
        for k in range(dim):
            score += given[k] * row[k]
        by[place] = score
    for place in range(count):
        step = int((min(max(by[place], -limit), limit) + limit) * _SCALE)
        loss += _LOSS[step] if place == 0 else _LOSS[_STEPS - 1 - step]
        by[place] = ((np.float32(1.0) if place == 0 else np.float32(0.0)) - _SIGMOID[step]) * rate
    for place in range(count):
        row = outputs[at[place]]
        for k in range(dim):
            old = row[k]
            moved[k] += by[place] * old
            row[k] = old + by[place] * given[k]
    return loss


@_njit
def learn_window(
    inputs: F32,
    outputs: F32,
    context: I32,
    n: int,
    at: I32,
    count: int,
    rate: np.float32,
    together: bool,
    spare: F32,
) -> np.float32:
    """Learns from the items around one: `context` (n,) are rows of the inputs; `at` (count,) rows of the
    outputs, the first of which stands in the middle. Moves both in place and returns the loss.

    together: CBOW: the mean of the inputs says what stands in the middle; else skip-gram: each of them says
    it.
    spare: float32 (3, dim or more and count or more), room for sums and scores.
    """
    dim, loss = inputs.shape[1], np.float32(0.0)
    given, moved = spare[0, :dim], spare[1, :dim]
    if together:
        for k in range(dim):
            given[k], moved[k] = 0.0, 0.0
        for place in range(n):
            row = inputs[context[place]]
            for k in range(dim):
                given[k] += row[k]
        for k in range(dim):
            given[k] /= n
        loss += _learn_pair(given, moved, outputs, at, count, rate, spare[2])
        for place in range(n):
            row = inputs[context[place]]
            for k in range(dim):
                row[k] += moved[k] / n
        return loss
    for place in range(n):
        row = inputs[context[place]]
        for k in range(dim):
            moved[k] = 0.0
        loss += _learn_pair(row, moved, outputs, at, count, rate, spare[2])
        for k in range(dim):
            row[k] += moved[k]
    return loss


@_njit
def thin_out(items: I32, start: int, stop: int, kept: F32, state: I64, sequence: I32) -> int:
    """Puts the events from `start` to before `stop` into `sequence`, each with its chance to be kept; how
    many."""
    length = 0
    for place in range(start, stop):
        item = items[place]
        if kept[item] >= 1.0 or np.float32(draw_bits(state)) * np.float32(2.0**-32) < kept[item]:
            sequence[length] = item
            length += 1
    return length


@_njit
def look_around(sequence: I32, length: int, place: int, window: int, state: I64, context: I32) -> int:
    """Puts the other items near a place of a sequence into `context`; how many. window: as in
    `learn_sequences`."""
    reach, n = length if window == 0 else 1 + int(draw_bits(state) % np.uint64(window)), 0
    for near in range(max(0, place - reach), min(length, place + reach + 1)):
        if near != place and sequence[near] != sequence[place]:
            context[n] = sequence[near]
            n += 1
    return n


@_njit
def draw_negatives(item: int, table: I32, negatives: int, state: I64, at: I32) -> int:
    """Puts an item and, after it, drawn ones that are others into `at`; how many."""
    at[0], count = item, 1
    for _ in range(negatives):
        drawn = table[int(draw_bits(state) % np.uint64(TABLE))]
        if drawn != item:
            at[count] = drawn
            count += 1
    return count


class Parts(NamedTuple):
    """Item i is the sum of the rows `rows[offsets[i]:offsets[i + 1]]` of a table by their `weights`; the
    first of them is its own. Of length 0: each item is a row of its own and no more."""

    offsets: I64
    rows: I32
    weights: F32


NO_PARTS = Parts(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


@_njit
def _add_up(table: F32, parts: Parts, start: int, stop: int, into: F32) -> None:
    """Puts the weighted sum of the parts from `start` to before `stop` into `into` (dim,)."""
    for k in range(len(into)):
        into[k] = 0.0
    for part in range(start, stop):
        row, weight = table[parts.rows[part]], parts.weights[part]
        for k in range(len(into)):
            into[k] += weight * row[k]


@_njit
def _share_out(table: F32, parts: Parts, start: int, stop: int, before: F32, after: F32) -> None:
    """Moves the row of each of these parts by its weight times what their sum moved by."""
    for part in range(start, stop):
        row, weight = table[parts.rows[part]], parts.weights[part]
        for k in range(len(before)):
            row[k] += weight * (after[k] - before[k])


@_njit
def _gather(
    table: F32, parts: Parts, dropout: float, state: I64, items: I32, n: int, first: I64, sums: F32
) -> None:
    """Puts the sums of these items (n,) into `sums` (2, n or more, dim), twice, and where the parts of each
    begin into `first`: behind its own row in a share `dropout` of the draws, where it has others."""
    for place in range(n):
        start, stop = parts.offsets[items[place]], parts.offsets[items[place] + 1]
        if stop - start > 1 and float(draw_bits(state)) * 2.0**-32 < dropout:
            start += 1
        first[place] = start
        _add_up(table, parts, start, stop, sums[0, place])
        sums[1, place] = sums[0, place]


@_njit
def _scatter(table: F32, parts: Parts, items: I32, n: int, first: I64, sums: F32) -> None:
    """Moves the parts of these items (n,) by what their sums moved by, from `sums[0]` to `sums[1]`."""
    for place in range(n):
        stop = parts.offsets[items[place] + 1]
        _share_out(table, parts, first[place], stop, sums[0, place], sums[1, place])


@_njit
def learn_sequences(
    offsets: I64,
    items: I32,
    users: I64,
    inputs: F32,
    outputs: F32,
    kept: F32,
    table: I32,
    window: int,
    negatives: int,
    rate: np.float32,
    together: bool,
    seed: int,
    parts: Parts = NO_PARTS,
    id_dropout: float = 0.0,
) -> tuple[float, int]:
    """Learns from the sequences of these users, in place; the summed loss, and how many pairs it was of.

    offsets, items: the sequences of all users. kept: float32 (n_items,), how likely an event of each is kept.
    table: int32 (TABLE,), items as often as they are drawn for negatives. window: places to either side, of
    which a number from 1 on is drawn for each event, so that what is near counts more; 0 = the whole
    sequence, in no order. parts: of which rows of the inputs and outputs the items are sums. id_dropout:
    share of the places at which an item of several parts is learned from without its own row.
    """
    state, dim, summed = np.array([seed | 1], np.int64), inputs.shape[1], len(parts.offsets) > 0
    longest = 1
    for user in users:
        longest = max(longest, offsets[user + 1] - offsets[user])
    sequence, at = np.empty(longest, np.int32), np.empty(negatives + 1, np.int32)
    context, spare = np.empty(longest, np.int32), np.empty((3, max(dim, negatives + 1)), np.float32)
    most = max(longest, negatives + 1) if summed else 0
    order, first = np.arange(most).astype(np.int32), np.empty((2, most), np.int64)
    given, against = np.empty((2, most, dim), np.float32), np.empty((2, most, dim), np.float32)
    loss, pairs = 0.0, 0
    for user in users:
        length = thin_out(items, offsets[user], offsets[user + 1], kept, state, sequence)
        for place in range(length):
            n = look_around(sequence, length, place, window, state, context)
            if n == 0:
                continue
            count = draw_negatives(sequence[place], table, negatives, state, at)
            pairs += 1 if together else n
            if not summed:
                loss += float(learn_window(inputs, outputs, context, n, at, count, rate, together, spare))
                continue
            _gather(inputs, parts, id_dropout, state, context, n, first[0], given)
            _gather(outputs, parts, id_dropout, state, at, count, first[1], against)
            loss += float(learn_window(given[1], against[1], order, n, order, count, rate, together, spare))
            _scatter(inputs, parts, context, n, first[0], given)
            _scatter(outputs, parts, at, count, first[1], against)
    return loss, pairs
