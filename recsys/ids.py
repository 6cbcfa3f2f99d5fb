"""External string ids on one side, dense int32 indices on the other.

An `IdMap` is append-only (an old id never moves; one that is forgotten leaves its slot empty) and made of
four flat arrays, so that ten million ids open from disk by memory-mapping and a look-up is one binary search:
the ids' UTF-8 bytes, their offsets, the sorted 64-bit hashes and the permutation that leads from hash order
to index. A hit compares the bytes, so equal hashes cannot confuse two ids.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recsys.arrays import I32, I64, U8, Array, Bool, Ragged, offsets_of
from recsys.errors import BundleError, DataError
from recsys.texts import Texts

U64 = npt.NDArray[np.uint64]

MAX_ID_CHARACTERS = 1_000  # what a request may send; longer ones are whole texts in the wrong column

_MAGIC = b"recsys-ids-1\n\0\0\0"
_MASK = (1 << 64) - 1
_PRIME = 0x9E3779B97F4A7C15
_WORD = 8
_FEW, _MANY = 128, 1 << 12  # ids that are found faster one by one, and that are read at a time


class IdMap:
    """A bijection between n distinct non-empty strings and 0 ... n - 1.

    Examples
    --------
    >>> ids = IdMap.of(["007", "NA"])
    >>> ids.index("NA"), ids.index("7"), ids[0]
    (1, -1, '007')
    """

    def __init__(self, text: U8, offsets: I64, hashes: U64, order: I32) -> None:
        self._text, self._offsets, self._hashes, self._order = text, offsets, hashes, order
        self._texts = Texts(offsets, text)
        self._views: tuple[Any, ...] = (
            text.data,
            offsets.data,
            hashes.data,
            order.data,
        )  # to be read one by one

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """Index i belongs to `ids[i]`; an empty, duplicate or non-text id is a DataError that names it."""
        text, offsets = _encode_ids(ids)
        if (np.diff(offsets) == 0).any():
            raise DataError(
                f"an id must not be empty; id number {int(np.argmin(np.diff(offsets)))} is. Drop that row."
            )
        result = cls._sorted(text, offsets)
        result._refuse_duplicates()
        return result

    @classmethod
    def _sorted(cls, text: U8, offsets: I64) -> Self:
        hashes = hash_texts(text, offsets)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        return cls(text, offsets, hashes[order], order)

    def without(self, indices: Array | Sequence[int]) -> Self:
        """The map with these slots empty: their ids are found no more, by string or by hash, and all others
        stay where they were."""
        kept = self.present
        kept[np.asarray(indices, np.int64)] = False
        lengths = np.where(kept, np.diff(self._offsets), 0)
        text = self._text[np.repeat(kept, np.diff(self._offsets))]
        return self._sorted(text, offsets_of(lengths))

    @property
    def present(self) -> Bool:
        """bool (n,): which slots hold an id; the others are of ids that were forgotten."""
        present: Bool = np.diff(self._offsets) > 0
        return present

    def _refuse_duplicates(self) -> None:
        for at in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]):
            id_ = self[int(self._order[at + 1])]
            if self.index(id_) != self._order[at + 1]:
                raise DataError(f"ids must be distinct; {id_!r} occurs more than once.")

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0 ... {len(self) - 1}")
        return self._bytes(index).decode()

    def take(self, indices: Array | Sequence[int]) -> list[str]:
        """The ids of these indices (n,)."""
        return self._texts.take(indices)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _MANY):
            yield from self.take(np.arange(start, min(start + _MANY, len(self))))

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.index(id_) >= 0

    def _bytes(self, index: int) -> bytes:
        text, offsets, _, _ = self._views
        return bytes(text[offsets[index] : offsets[index + 1]])

    def index(self, id_: str) -> int:
        """The index of an id, -1 for one that is not in the map."""
        encoded = id_.encode(errors="surrogatepass")  # a lone surrogate is in no map, and no error here
        if not encoded:
            return -1  # no id, and what stands in the slots of those that are forgotten
        hash_, (_, _, hashes, order) = _hash_one(encoded), self._views
        at = bisect_left(hashes, hash_)
        while at < len(hashes) and hashes[at] == hash_:
            candidate = int(order[at])
            if self._bytes(candidate) == encoded:
                return candidate
            at += 1
        return -1

    def indices(self, ids: Sequence[str]) -> I32:
        """int32 (n,): `index` of each id, found for all at once."""
        if not len(ids) or not len(self):
            return np.full(len(ids), -1, np.int32)
        if len(ids) <= _FEW:
            return np.array([self.index(each) for each in ids], np.int32)
        text, offsets = _encode_ids(ids, "surrogatepass")
        hashes = hash_texts(text, offsets)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        indices = np.where((self._hashes[at] == hashes) & (np.diff(offsets) > 0), self._order[at], -1)
        hits = np.flatnonzero(indices >= 0)
        for row in hits[~self._same(text, offsets, hits, indices[hits])]:  # equal hashes of different ids
            indices[row] = self.index(ids[row])
        return indices

    def _same(self, text: U8, offsets: I64, rows: I64, candidates: I32) -> Bool:
        """(n,): whether string `rows[i]` of the given ones is the id `candidates[i]`, byte by byte."""
        asked, own = Ragged(offsets, text), Ragged(self._offsets, self._text)  # type: ignore[arg-type]
        same: Bool = asked.lengths[rows] == own.lengths[candidates]
        alike = np.flatnonzero(same)
        differ = text[asked.positions(rows[alike])] != self._text[own.positions(candidates[alike])]
        same[alike[asked.take(rows[alike]).row_of_value()[differ]]] = False
        return same

    def with_ids(self, ids: Iterable[str]) -> "IdMap":
        """A map in which every old id keeps its index and the unknown ones among `ids` follow, in order."""
        distinct = list(dict.fromkeys(ids))
        fresh = [distinct[row] for row in np.flatnonzero(self.indices(distinct) < 0)]
        if not fresh:
            return self
        more = IdMap.of(fresh)
        offsets = np.concatenate([self._offsets, self._offsets[-1] + more._offsets[1:]])
        return IdMap._sorted(np.concatenate([self._text, more._text]), offsets)

    @property
    def nbytes(self) -> int:
        """Bytes of the four arrays, in memory and on disk."""
        return sum(array.nbytes for array in (self._text, self._offsets, self._hashes, self._order))

    def digest(self) -> bytes:
        """SHA-256 of the ids in their order."""
        return sha256(self._offsets.tobytes() + self._text.tobytes()).digest()

    def save(self, path: Path) -> None:
        """Writes one file that `load` maps into memory."""
        with path.open("wb") as file:
            file.write(_MAGIC)
            np.array([len(self), len(self._text)], np.int64).tofile(file)
            for part in (self._offsets, self._hashes, self._order, self._text):
                part.tofile(file)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Opens a saved map without reading it: the arrays are memory-mapped."""
        _little_endian()
        raw = np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.empty(0, np.uint8)
        head = len(_MAGIC)
        if bytes(raw[:head]) != _MAGIC or len(raw) < head + 16:
            raise BundleError(f"{path} is not an id map of this version; export the bundle again.")
        n, n_text = (int(value) for value in raw[head : head + 16].view(np.int64))
        layout: list[tuple[Any, int]] = [(np.int64, n + 1), (np.uint64, n), (np.int32, n), (np.uint8, n_text)]
        sizes = [count * np.dtype(dtype).itemsize for dtype, count in layout]
        parts, at = [], head + 16
        asked = at + sum(sizes)
        if min(n, n_text) < 0 or asked != len(raw):
            raise BundleError(
                f"{path} has {len(raw)} bytes where its header asks for {asked}; export the bundle again."
            )
        for (dtype, _), size in zip(layout, sizes, strict=True):
            parts.append(raw[at : at + size].view(dtype))
            at += size
        offsets, hashes, order, text = parts
        return cls(text, offsets, hashes, order)


def _encode_ids(ids: Sequence[str], errors: str = "strict") -> tuple[U8, I64]:
    """The ids' UTF-8 bytes, one after the other, and their offsets (n + 1,)."""
    try:
        encoded = [id_.encode(errors=errors) for id_ in ids]
    except (AttributeError, UnicodeEncodeError):
        bad = next(id_ for id_ in ids if not isinstance(id_, str) or _surrogate(id_))
        raise DataError(f"an id must be valid text, got {bad!r}; convert ids to strings first.") from None
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), offsets_of(lengths)


def _surrogate(id_: str) -> bool:
    """Whether the text holds a lone surrogate, which no UTF-8 file or URL can carry."""
    return not id_.isascii() and any("\ud800" <= character <= "\udfff" for character in id_)


def _little_endian() -> None:
    if sys.byteorder != "little":
        raise BundleError("bundles are read on little-endian machines only.")


def _hash_one(encoded: bytes) -> int:
    """A stable 64-bit hash of one id: words of eight bytes, multiply and shift (no cryptographic claim)."""
    state = len(encoded)
    for at in range(0, len(encoded), _WORD):
        state = ((state ^ int.from_bytes(encoded[at : at + _WORD], "little")) * _PRIME) & _MASK
        state ^= state >> 29
    return state


def hash_texts(text: U8, offsets: I64) -> U64:
    """A stable 64-bit hash of each text, as `Texts` holds them, the same on every machine: `_hash_one` of all
    at once, by one vectorised pass for each eight bytes of the longest."""
    padded = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    words = np.ndarray(len(text) + 1, "<u8", padded, strides=(1,))  # the eight bytes that start at each place
    lengths = np.diff(offsets)
    state = lengths.astype(np.uint64)
    for at in range(0, int(lengths.max(initial=0)), _WORD):
        rows = np.flatnonzero(lengths > at)
        left = np.minimum(lengths[rows] - at, _WORD)
        mask = np.uint64(_MASK) >> ((_WORD - left) * 8).astype(np.uint64)
        mixed = (state[rows] ^ (words[offsets[rows] + at] & mask)) * np.uint64(_PRIME)
        state[rows] = mixed ^ (mixed >> np.uint64(29))
    return state
