"""Indexes that find most of the best items at a fraction of a scan: FAISS's, with the truth kept in the
vectors.

An index of these finds candidates; their scores are computed anew from the item vectors, so that they are
those of the exact scan, whatever the index keeps of a vector.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from pydantic import Field, field_validator

from recsys.arrays import F32, I64, U8
from recsys.config import Settings
from recsys.errors import BundleError, SettingError
from recsys.retrieval.index import inner_products

FLAT = "Flat"
FILE = "index.faiss"
_EFFORTS = {"IVF": "nprobe", "HNSW": "efSearch"}
_WHOLE = 0.95  # of the items: where so many are allowed, the effort is that for all
_PER_LIST = 39  # vectors for each list of an inverted file, below which its centroids are not learned
_FACTORY = re.compile(r"(SQfp16|SQ8|IVF\d+,(Flat|SQfp16|SQ8|PQ\d+x4fs)|HNSW\d+(_SQfp16|_SQ8)?)")


class IndexSettings(Settings):
    """Which index a bundle has, how hard it looks, and what it was measured to find."""

    factory: str = Field(
        FLAT, description="FAISS's name: Flat, SQ8, IVF1024,SQfp16, IVF1,PQ64x4fs, HNSW32 ..."
    )
    effort: int = Field(
        0, ge=0, description="lists that are looked at (IVF), or candidates kept (HNSW); else 0"
    )
    fetch: float = Field(
        1.0, ge=1, description="candidates found for each item answered, before they are scored anew"
    )
    filtered: tuple[tuple[float, int], ...] = Field(
        (),
        description=(
            "shares of allowed items, falling, each with the effort down to it; below all, the exact scan"
        ),
    )
    k: int = Field(100, ge=1, description="items for which it was measured")
    target: float = Field(0.99, gt=0, le=1, description="mean recall at k below which it is refused")
    target_p5: float = Field(0.9, ge=0, le=1, description="recall at k that 95 % of people must reach")

    @field_validator("factory")
    @classmethod
    def _is_known(cls, factory: str) -> str:
        if factory != FLAT and not _FACTORY.fullmatch(factory):
            raise ValueError(
                f"no index is called {factory!r} here; take Flat, SQfp16, SQ8, IVF256,SQfp16, "
                "IVF64,PQ64x4fs or HNSW32, with any number"
            )
        return factory

    @property
    def exact(self) -> bool:
        return self.factory == FLAT


class Approximate:
    """A FAISS index with the vectors that it was made of, float32 (n, dim)."""

    exact = False

    def __init__(self, items: F32, index: Any, settings: IndexSettings) -> None:
        self.items, self.index, self.settings = items, index, settings
        self._effort_name = next((name for kind, name in _EFFORTS.items() if kind in settings.factory), None)
        self._shares = np.array([share for share, _ in settings.filtered])
        self._without_rule: dict[
            tuple[int, ...], Any
        ] = {}  # by effort: made anew they cost as much as two lists

    @classmethod
    def build(cls, items: F32, settings: IndexSettings) -> "Approximate":
        """Makes it from the vectors, by the threads that FAISS has. Raises SettingError where they are too
        few."""
        lists = re.match(r"IVF(\d+)", settings.factory)
        if lists and len(items) < _PER_LIST * int(lists[1]):
            raise SettingError(
                f"{settings.factory} needs {_PER_LIST * int(lists[1]):,} items to learn its lists, there are "
                f"{len(items):,}. Take fewer lists, or Flat."
            )
        index = faiss.index_factory(items.shape[1], settings.factory, faiss.METRIC_INNER_PRODUCT)
        items = np.ascontiguousarray(items, np.float32)
        if lists:
            _fill_by_distance(index, items)
        else:
            index.train(items)
            index.add(items)
        return cls(items, index, settings)

    @classmethod
    def load(cls, folder: Path, items: F32, settings: IndexSettings) -> "Approximate":
        """Maps it from its file. Raises BundleError where it is no index of these vectors."""
        path = folder / FILE
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(f"{path} is not a FAISS index: {str(error).splitlines()[0]}") from None
        _refuse_foreign(path, index, items, settings)
        return cls(items, index, settings)

    def save(self, path: Path) -> None:
        """Writes its file."""
        faiss.serialize_index(self.index).tofile(path)  # FAISS's own writer hides why a disk refuses

    @property
    def shape(self) -> tuple[int, int]:
        return self.index.ntotal, self.index.d

    @property
    def nbytes(self) -> int:
        parts: list[int] = []
        faiss.write_index(self.index, faiss.PyCallbackIOWriter(lambda part: parts.append(len(part))))
        return sum(parts)

    def effort_at(self, share: float) -> int | None:
        """How hard to look where this share of the items is allowed; None where the exact scan is the way."""
        if share >= _WHOLE:
            return self.settings.effort
        at = int(np.count_nonzero(self._shares > share))
        return self.settings.filtered[at][1] if at < len(self._shares) else None

    def search(
        self, vectors: F32, k: int, allowed: U8 | None = None, effort: int | None = None
    ) -> tuple[F32, I64]:
        """As `Index.search`, most of the best k. effort: in place of that of the settings."""
        fetch = min(len(self.items), self._candidates(k))
        parameters = self._parameters(fetch, allowed, self.settings.effort if effort is None else effort)
        _, rows = self.index.search(np.ascontiguousarray(vectors, np.float32), fetch, params=parameters)
        scores = inner_products(self.items, vectors, rows)
        best = np.arange(len(rows))[:, None], np.argsort(-scores, axis=1)[:, :k]
        return scores[best], rows[best]

    def _candidates(self, k: int) -> int:
        """How many to find for k: where few bits of a number are kept never fewer than it was measured
        with."""
        return k if self.settings.fetch == 1 else int(np.ceil(max(k, self.settings.k) * self.settings.fetch))

    def _parameters(self, fetch: int, allowed: U8 | None, effort: int) -> Any:
        kind, stated = faiss.SearchParameters, dict[str, int]()
        if self._effort_name == "nprobe":
            kind, stated = faiss.SearchParametersIVF, {"nprobe": min(effort, self.index.nlist)}
        elif self._effort_name == "efSearch":
            kind, stated = faiss.SearchParametersHNSW, {"efSearch": max(effort, fetch)}
        if allowed is not None:
            return kind(sel=faiss.IDSelectorBitmap(allowed), **stated)
        key = tuple(stated.values())
        if key not in self._without_rule:
            self._without_rule[key] = kind(**stated)
        return self._without_rule[key]


def _fill_by_distance(index: Any, items: F32) -> None:
    """Trains and fills an inverted file whose items lie with the nearest centre, while questions go to the
    centres of largest inner product: long vectors, which answer most questions, then share few lists. By
    inner products alone the longest centre draws items of every direction."""
    centres = faiss.Kmeans(items.shape[1], index.nlist, seed=1)
    centres.train(items)
    nearest, own = faiss.IndexFlatL2(items.shape[1]), faiss.downcast_index(index.quantizer)
    for quantizer in (nearest, own):
        quantizer.add(centres.centroids)
    index.quantizer = nearest
    try:
        index.train(items)
        index.add(items)
    finally:
        index.quantizer = own  # which the index owns


def _refuse_foreign(path: Path, index: Any, items: F32, settings: IndexSettings) -> None:
    """Raises BundleError where an index is not what its bundle says."""
    wrong = None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        wrong = "measures distances, and scores here are inner products"
    elif (index.ntotal, index.d) != items.shape:
        wrong = (
            f"holds {index.ntotal} vectors of dim {index.d}, the bundle {items.shape[0]} of {items.shape[1]}"
        )
    elif not index.is_trained:
        wrong = "was never trained"
    elif isinstance(index, faiss.IndexIVF) != settings.factory.startswith("IVF"):
        wrong = f"is no {settings.factory}"
    if wrong:
        raise BundleError(f"{path} {wrong}. Tune it again: recsys index tune.")


def factories(n_items: int, dim: int) -> Sequence[str]:
    """The indexes that are worth a trial for so many items; Flat is always one.

    PQ64x4fs keeps 4 bits of each number and looks them up in registers (Andre, Kermarrec, Le Scouarnec,
    "Cache locality is not enough: high-performance nearest neighbor search with product quantization fast
    scan", VLDB 2015); in one list, for without lists FAISS takes no selector there.
    """
    lists = [1 << power for power in range(5, 15) if _PER_LIST << power <= n_items]
    near = [n for n in lists if n_items / n <= 1_000][:2] or lists[-1:]
    fast = f"PQ{dim}x4fs"
    inverted = [f"IVF{n},{codes}" for n in near for codes in (FLAT, "SQfp16", "SQ8", fast)]
    large = [f"IVF1,{fast}", "HNSW32", "HNSW32_SQfp16"] if n_items >= 1_000 else []
    return [FLAT, "SQfp16", "SQ8", *inverted, *large]
