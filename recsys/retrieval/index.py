"""Finding the item vectors of largest inner product with a question: an index is a cache of what the vectors
say."""

from typing import Any, Protocol

import faiss
import numpy as np

from recsys.arrays import F32, I64, U8


class Index(Protocol):
    """Finds the rows of `n` vectors whose inner product with a question is largest. exact: whether it finds
    them all. nbytes: what it holds in memory beside the vectors themselves."""

    exact: bool

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors there are, and their dim."""

    @property
    def nbytes(self) -> int: ...

    def search(self, vectors: F32, k: int, allowed: U8 | None = None) -> tuple[F32, I64]:
        """Scores float32 (n, k) and rows int64 (n, k) for float32 (n, dim) questions, best first; padded with
        rows -1.

        allowed: uint8 (ceil(n_items / 8),), one bit an item from the lowest on, of those that may be found;
        None = all.
        """


class Flat:
    """Scans the vectors where they lie, memory-mapped: exact, and nothing is held beside them."""

    exact = True
    nbytes = 0

    def __init__(self, items: F32) -> None:
        self._items = np.ascontiguousarray(items, np.float32)
        self._pointer = faiss.swig_ptr(self._items)

    @property
    def shape(self) -> tuple[int, int]:
        n, dim = self._items.shape
        return n, dim

    def search(self, vectors: F32, k: int, allowed: U8 | None = None) -> tuple[F32, I64]:
        vectors = np.ascontiguousarray(vectors, np.float32)
        scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        n, dim = self._items.shape
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed)
        out = (faiss.swig_ptr(scores), faiss.swig_ptr(rows))
        asked: Any = (faiss.swig_ptr(vectors), self._pointer, dim, len(vectors), n, k)
        faiss.knn_inner_product(*asked, *out, selector)
        return scores, rows


def inner_products(items: F32, vectors: F32, rows: I64) -> F32:
    """float32 (n, k): of questions (n, dim) with rows (n, k) of the items, -inf for row -1. The items are
    read where they lie: a third of the time of a product with a copy of their rows."""
    items, vectors = np.ascontiguousarray(items, np.float32), np.ascontiguousarray(vectors, np.float32)
    rows, scores = np.ascontiguousarray(rows, np.int64), np.empty(rows.shape, np.float32)
    asked: Any = [faiss.swig_ptr(array) for array in (scores, vectors, items, rows)]
    faiss.fvec_inner_products_by_idx(*asked, items.shape[1], *rows.shape)
    return scores
