"""The time that the service, its event store and reports read: the machine's, or that of a simulator.

A simulator lets weeks pass in minutes: it keeps the time in a small file (`keep_time`), which all processes
of a simulation map into memory (`follow`). Nobody else moves it.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from recsys.errors import SettingError

_FORM = struct.Struct("<q")


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


_read: Callable[[], int] = _machine_ms


def now_ms() -> int:
    """Unix milliseconds."""
    return _read()


def now_s() -> int:
    """Unix seconds."""
    return _read() // 1_000


def keep_time(path: Path, ms: int) -> None:
    """Sets the time of a simulation, in unix milliseconds; the file is made where there is none."""
    with open(path, "r+b" if path.exists() else "w+b", buffering=0) as file:
        file.write(_FORM.pack(ms))  # eight bytes at once: nobody sees a half of them


def follow(path: Path) -> None:
    """From now on the time of this process is what a simulator keeps in a file; SettingError where it does
    not."""
    global _read
    try:
        with path.open("rb") as file:
            held = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise SettingError(
            f"the clock {path} cannot be read: {said}. A simulator makes it; leave it out."
        ) from None
    _read = lambda: int(_FORM.unpack_from(held)[0])  # noqa: E731  a name for each of two clocks says no more


def follow_machine() -> None:
    """From now on the time of this process is that of the machine, as it is from the start."""
    global _read
    _read = _machine_ms
