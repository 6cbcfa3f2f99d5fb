"""The FAISS index of a bundle, which holds its vectors: they are stored once."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from recsys.arrays import F32
from recsys.errors import BundleError


def write_index(vectors: F32, path: Path) -> None:
    """Writes an exact inner-product index over float32 (n, dim) vectors, as `faiss.read_index` reads it."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    faiss.serialize_index(index).tofile(path)  # FAISS's own writer hides why a disk refuses


def read_index(path: Path) -> Any:
    """An index in memory. Mapped from the file its vectors would lie at odd addresses, where numpy copies them anew
    for each product."""
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise BundleError(f"{path} is not a FAISS index: {str(error).splitlines()[0]}") from None


def vectors_of(index: Any) -> F32:
    """float32 (n, dim): the vectors of a flat index where they lie. The index lives as long as this array."""
    return np.asarray(_Storage(index))


class _Storage:
    """What numpy needs to see a flat index's memory, and holds on to."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.__array_interface__ = {
            "version": 3,
            "shape": (index.ntotal, index.d),
            "typestr": "<f4",
            "data": (int(index.get_xb()), True),  # True = read-only
        }
