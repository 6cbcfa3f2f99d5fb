"""Where runs are kept: `mlruns/` and its tracking database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

from recsys.config import home
from recsys.durable import hold_lock
from recsys.errors import TrackingError

_NAME = "mlruns"


def store() -> Path:
    """The folder of the tracking database and the artefacts."""
    return home() / _NAME


def place_for_events() -> Path:
    """The folder below which a log that is larger than memory is kept while a run lasts: in files without
    names, which are gone with the process. Raises TrackingError where it cannot be made."""
    try:
        store().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(
            f"{store()} cannot be made: {error.strerror}. Mend access, or set RECSYS_HOME."
        ) from None
    return store()


def database() -> Path:
    """The tracking database, where MLFLOW_TRACKING_URI names no other store."""
    return store() / "mlflow.db"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the SQLite database in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(database())


def sqlite_uri(file: Path) -> str:
    """A SQLite database in the words of SQLAlchemy.

    It decodes a path since 2.1 and cuts it at `?`, so these two are encoded; before, `?` cannot be said at
    all.
    """
    path = str(file)
    if not {"%", "?"} & set(path):
        return f"sqlite:///{path}"
    if tuple(int(part) for part in version("sqlalchemy").split(".")[:2]) >= (2, 1):
        return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")
    if "?" in path:
        raise TrackingError(
            f"{path}: SQLAlchemy below 2.1 takes no `?` in a path. Set RECSYS_HOME to another folder."
        )
    return f"sqlite:///{path}"


def place_of_artifacts(recorded: str) -> str:
    """Where the artefacts of a run lie, as a URI. recorded: where they were when the run was made.

    MLflow keeps absolute paths, and a home may have been moved, copied or mounted elsewhere since: what lies
    below `mlruns` is looked for in the home at hand, and never in another one.
    """
    if os.environ.get("MLFLOW_TRACKING_URI") or not recorded.startswith(("file:", "/")):
        return recorded
    inside = unquote(recorded).rpartition(f"/{_NAME}/")[2]
    here = store() / inside
    return here.as_uri() if inside.startswith("artifacts/") or here.exists() else recorded


def read_only() -> bool:
    """Whether the store is there and may only be read, as a mount that others look at."""
    return store().is_dir() and not os.access(store(), os.W_OK)


def refuse_read_only() -> None:
    """Raises TrackingError where the store may only be read."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and read_only():
        raise TrackingError(
            f"{store()}, where runs are kept, may only be read here. Write where it is at home, or set "
            f"RECSYS_HOME to another folder."
        )


@contextmanager
def opening_database() -> Iterator[None]:
    """Holds the lock of the database while MLflow opens it, and makes a new one whole or not at all.

    Two first users at once would destroy it, and what a full disk leaves of one would refuse every later run.
    It is emptied before it is removed, since MLflow holds it open: the bundle that comes next needs the
    space. Who may only read takes no lock: nothing is made.
    """
    if not tracking_uri().startswith("sqlite:") or (database().exists() and read_only()):
        yield
        return
    store().mkdir(parents=True, exist_ok=True)
    with hold_lock(store() / ".lock"):
        fresh = not os.environ.get("MLFLOW_TRACKING_URI") and not database().exists()
        try:
            yield
        except BaseException:
            for left in store().glob(f"{database().name}*") if fresh else ():
                with suppress(OSError):
                    os.truncate(left, 0)
                    left.unlink()
            raise


def remove_false_folder() -> None:
    """Removes the empty folder that MLflow makes by the encoded name of a database whose path holds `%` or
    `?`."""
    false = Path(tracking_uri().removeprefix("sqlite:///")).parent
    if not os.environ.get("MLFLOW_TRACKING_URI") and false != store():
        with suppress(OSError):
            os.removedirs(false)  # up to the first that holds something
