"""Texts of a whole catalogue as bytes in a file: shared by the processes that map it, and read by row."""

import mmap
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from recsys.arrays import I64, U8, Array, offsets_of


class Texts:
    """n texts: text i is `utf8[offsets[i]:offsets[i + 1]]` in UTF-8; an empty one stands for none.

    offsets: int64 (n + 1,), starting at 0 and never falling; utf8: uint8 (bytes,).

    Examples
    --------
    >>> Texts.of(["Heat", None, "Alien"]).take([2, 0, 1])
    ['Alien', 'Heat', '']
    """

    def __init__(self, offsets: I64, utf8: U8) -> None:
        self.offsets, self.utf8 = (
            np.asarray(offsets),
            np.asarray(utf8),
        )  # a plain array is cut faster than a memmap

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> Self:
        return cls.of_bytes([(text or "").encode() for text in texts])

    @classmethod
    def of_bytes(cls, encoded: Sequence[bytes]) -> Self:
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(offsets_of(lengths), np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        return self.utf8[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()

    def take(self, rows: Array | Sequence[int]) -> list[str]:
        """The texts of these rows (k,); an empty one for -1."""
        return [text.decode() for text in self.take_bytes(rows)]

    def take_bytes(self, rows: Array | Sequence[int]) -> list[bytes]:
        """The texts of these rows (k,) in UTF-8; an empty one for -1."""
        buffer, start = self._buffer
        at = np.asarray(rows, np.int64)
        starts, ends = (self.offsets[at] + start).tolist(), (self.offsets[at + 1] + start).tolist()
        return [buffer[a:b] for a, b in zip(starts, ends, strict=True)]

    @cached_property
    def _buffer(self) -> tuple[Any, int]:
        """What gives bytes by slices, twice as fast as an array does, and where in it the text begins."""
        whole: Any = self.utf8
        while isinstance(whole, np.ndarray | memoryview):
            whole = whole.base if isinstance(whole, np.ndarray) else whole.obj
        if isinstance(whole, mmap.mmap):
            return whole, self.utf8.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data
        return self.utf8.tobytes(), 0

    def followed_by(self, more: "Texts") -> "Texts":
        """With further texts at its end."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + more.offsets[1:]])
        return Texts(offsets, np.concatenate([self.utf8, more.utf8]))

    def arrays(self, name: str) -> dict[str, Array]:
        """Its two arrays by the names of their files, without the ending."""
        return {f"{name}.offsets": self.offsets, f"{name}.utf8": self.utf8}

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Memory-maps the two files `NAME.offsets.npy` and `NAME.utf8.npy`."""
        return cls(*(np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("offsets", "utf8")))
