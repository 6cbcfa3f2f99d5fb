"""How often one item follows another in the histories: a sparse, directed matrix of pairs of items."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from recsys.arrays import F32, I64, Ragged, blocks_of, offsets_of
from recsys.history import Histories
from recsys.matrix import on_disk
from recsys.matrix.spectrum import degrees
from recsys.progress import Progress, Step, silent

_BLOCK_PAIRS = 4 << 20  # pairs of events at a time: some 150 MiB


class PairWeights(NamedTuple):
    """How much a pair of events of one history counts.

    window: how many places apart they may be. decay: the factor for each further place between them. back:
    what the way from the later event to the earlier one counts, where the way forward counts 1; 0 = not at
    all, 1 = undirected.
    """

    window: int
    decay: float
    back: float


def count_cooccurrences(
    histories: Histories,
    n_items: int,
    pairs: PairWeights,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> sparse.csr_array:
    """float32 (n_items, n_items): entry [i, j] says how often j follows i within the window.

    It is the sum over all pairs of an event of i and one of j in the same history of the product of their
    weights, times `decay ** (places apart - 1)`, and times `back` where j comes first. Repeats of an item in
    a row are one event with the sum of their weights. No item is paired with itself.

    Memory: 8 bytes for each two items that occur together, at most `2 * window` of them an event; beside them
    some 20 bytes an event, and one block of pairs, or those of one item. folder: where the entries are kept;
    None = in memory.
    """
    events, weight = _merge_runs(histories)
    by_item = np.argsort(events.values, kind="stable")  # places of events, item after item
    starts = offsets_of(np.bincount(events.values, minlength=n_items))
    most = 2 * pairs.window * len(by_item)
    items, sums = on_disk.room(folder, most, np.int32), on_disk.room(folder, most, np.float32)
    lengths, end = np.zeros(n_items, np.int64), 0
    for block in blocks_of(np.diff(starts), _BLOCK_PAIRS // (2 * pairs.window)):
        own = starts[block.start : block.stop + 1]
        counts = _count_from(events, weight, by_item[own[0] : own[-1]], own - own[0], n_items, pairs)
        lengths[block], start = np.diff(counts.indptr), end
        end += counts.nnz
        items[start:end], sums[start:end] = counts.indices, counts.data
        progress(Step("counting pairs of items", block.stop, n_items))
    kind = (
        np.int32 if end < 2**31 else np.int64
    )  # of another kind than the items, a copy of these would be made
    return sparse.csr_array(
        (sums[:end], items[:end], offsets_of(lengths).astype(kind)), shape=(n_items, n_items)
    )


def normalise_degrees(counts: sparse.csr_array, from_exponent: float, to_exponent: float) -> None:
    """Divides each entry by the powers of the sums of its row and of its column, in place."""
    by_row, by_column = degrees(counts)
    row, column = (
        (np.maximum(sums, 1e-12) ** -exponent).astype(np.float32)
        for sums, exponent in ((by_row, from_exponent), (by_column, to_exponent))
    )
    lengths = np.diff(counts.indptr)
    for block in blocks_of(lengths, on_disk.CHUNK):
        at = slice(int(counts.indptr[block.start]), int(counts.indptr[block.stop]))
        counts.data[at] *= np.repeat(row[block], lengths[block]) * column[counts.indices[at]]


def _merge_runs(histories: Histories) -> tuple[Ragged, F32]:
    """The items of the histories without repeats in a row, and float32 (nnz,) what each weighs with its
    repeats."""
    items = histories.items
    first = np.ones(len(items.values), bool)
    first[1:] = np.diff(items.values) != 0
    first[items.offsets[:-1][items.lengths > 0]] = True
    weight = np.ones(len(first), np.float32) if histories.weight is None else histories.weight
    return (
        (items, weight)
        if first.all()
        else (items.keep(first), np.add.reduceat(weight, np.flatnonzero(first)))
    )


def _count_from(
    events: Ragged, weight: F32, at: I64, starts: I64, n_items: int, pairs: PairWeights
) -> sparse.csr_array:
    """The rows of a few items, float32 (items, n_items). at: (n,) places of their events, item after item;
    starts: (items + 1,) where those of each begin."""
    apart = np.arange(-pairs.window if pairs.back else 1, pairs.window + 1)
    apart = apart[apart != 0]
    near = at[:, None] + apart  # (n, places nearby)
    row = np.searchsorted(events.offsets, at, side="right") - 1
    inside = (near >= events.offsets[row, None]) & (near < events.offsets[row + 1, None])
    near[~inside] = 0
    inside &= events.values[near] != events.values[at, None]
    near = near[inside]
    by_way = np.where(apart > 0, 1.0, pairs.back) * pairs.decay ** (np.abs(apart) - 1.0)
    counted = np.broadcast_to(by_way.astype(np.float32), inside.shape)[inside] * weight[near]
    shape = (len(at), n_items)
    nearby = sparse.csr_array((counted, events.values[near], offsets_of(inside.sum(axis=1))), shape=shape)
    own = sparse.csr_array((weight[at], np.arange(len(at)), starts), shape=(len(starts) - 1, len(at)))
    return own @ nearby
