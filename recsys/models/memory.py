"""How much memory is left, for learners that need one large block and say so before they take it."""

from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Bytes that can be taken without swapping, within a container's limit; None where the system does not
    say."""
    left = [free for free in (_of_machine(), _of_group()) if free is not None]
    return min(left) if left else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return free[0] if free else None


def _of_group() -> int | None:
    """What a container's limit leaves: its pages of files are given up before anything else, and count as
    free."""
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        pages = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - int(used) + int(pages.get("file", 0))
