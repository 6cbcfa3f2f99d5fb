"""A service whose disk is slow: every sync of an SQLite file takes so many seconds longer.

    python -m benchmarks.slow_disk SECONDS PATH [options of python -m recsys.serving]

The event store is opened through a layer between SQLite and the system, of this process alone.
"""

import sys
import time
from typing import Any

import apsw

NAME, SYSTEM = "slow", "unix"


class SlowFile(apsw.VFSFile):
    """A file that sleeps before it syncs."""

    seconds = 0.0

    def xSync(self, flags: int) -> None:  # noqa: N802 (its name in apsw)
        time.sleep(self.seconds)
        super().xSync(flags)


class SlowDisk(apsw.VFS):
    """The system's own, with slow files."""

    def __init__(self) -> None:
        super().__init__(NAME, SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return SlowFile(SYSTEM, name, flags)


def main() -> None:
    from recsys.serving.cli import main as serve

    SlowFile.seconds = float(sys.argv.pop(1))
    kept = SlowDisk()
    serve()
    kept.unregister()


if __name__ == "__main__":
    main()
