"""Bundles of format 1, written before this version: the vectors stood in a FAISS index, the columns in
Arrow."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from recsys.arrays import F32
from recsys.bundle.catalogue import Catalogue
from recsys.errors import BundleError


def read_vectors(folder: Path) -> F32:
    """float32 (n, dim): the vectors of the flat index, in memory: in their file they lie at odd addresses."""
    path = folder / "index.faiss"
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise BundleError(f"{path} is not a FAISS index: {str(error).splitlines()[0]}") from None
    return np.asarray(_Storage(index))


def read_catalogue(folder: Path) -> Catalogue:
    """The columns of `items.arrow`."""
    import pyarrow as pa
    from pyarrow import ipc

    with pa.memory_map(str(folder / "items.arrow")) as source:
        return Catalogue.of(ipc.open_file(source).read_all())


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
