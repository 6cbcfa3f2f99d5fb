"""Where an event store lies, by the name that data, logs and options give it."""

from pathlib import Path

from recsys.config import home
from recsys.errors import DataError
from recsys.events.database import FILE
from recsys.events.store import EventStore

ADDRESS = "events:"  # begins the name of a store; what follows is its folder
STATE = Path("mlruns") / "state"  # below the home


def is_event_store(name: str | Path) -> bool:
    """Whether a name of data, or of a log, stands for an event store."""
    return str(name).startswith(ADDRESS)


def open_store(name: str | Path | None) -> EventStore:
    """The store that a name stands for: `events:FOLDER`, a folder, or, for `events:` and None, that of the
    home.

    Raises DataError where there is none.
    """
    place = "" if name is None else str(name).removeprefix(ADDRESS)
    folder = Path(place) if place else home() / STATE
    if not (folder / FILE).is_file():
        raise DataError(
            f"{folder} holds no event store ({FILE}): a service writes one, and `recsys events import`."
        )
    return EventStore(folder)
