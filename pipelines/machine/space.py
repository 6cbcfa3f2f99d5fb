"""Whether there is room for a run, before it learns."""

import os
import shutil
import tempfile

from recsys.errors import TrackingError
from recsys.pipelines.run.run import Run
from recsys.pipelines.tracking.store import store

_COPIES = 2  # the bundle, and the store's copy of it once it is registered
_REST_BYTES = 16 << 20  # tracking database, record and pictures


def refuse_without_room(run: Run) -> None:
    """Raises TrackingError where what a run will write could not be kept: no folder, no right to write, no
    space.

    The space is that of the bundle, by `bundle_bytes`, twice: the store copies it. Nothing is left in the
    folder.
    """
    folder = store() / "trained"
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise TrackingError(
            f"{place}, where runs are kept, cannot be written: {error.strerror}. Mend access or free "
            f"space, or set RECSYS_HOME to another folder."
        ) from None
    needed = _COPIES * bundle_bytes(run) + _REST_BYTES
    if free < needed:
        raise TrackingError(
            f"{place}, where runs are kept, has {free / 1e6:,.0f} MB free, and this run needs about "
            f"{needed / 1e6:,.0f} MB. Free space, or set RECSYS_HOME to another folder."
        )


def bundle_bytes(run: Run) -> int:
    """About how many bytes the bundle of a run has; 0 for a model that learns no vectors of a dim."""
    dim: int | None = getattr(run.learner().settings, "dim", None)
    if dim is None:
        return 0
    data, events = run.data, run.data.interactions
    vectors = 4 * dim * (data.n_users + data.n_items)
    event = 4 + 8 * (events.time is not None) + 4 * (events.weight is not None) + (events.event is not None)
    described: int = data.items.nbytes
    return vectors + event * len(events) + data.user_ids.nbytes + data.item_ids.nbytes + described
