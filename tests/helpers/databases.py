"""New MLflow databases in the time of a copy: MLflow takes 1.5 s for one, and a hundred tests want one."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from recsys.pipelines.tracking import client


def copy_new_databases() -> None:
    """From now on a new SQLite store of this process is a copy of its first one, as that was when MLflow had
    made it."""
    open_as_ever = client._open_store

    def open_store() -> Any:
        from mlflow.store.db import utils

        if not isinstance(utils._initialize_tables, _CopyOfFirst):
            utils._initialize_tables = _CopyOfFirst(utils._initialize_tables)
        return open_as_ever()

    client._open_store = open_store


class _CopyOfFirst:
    """Stands where MLflow makes the tables of a new database by `make`."""

    def __init__(self, make: Callable[[Any], None]) -> None:
        self.make, self.first = make, sqlite3.connect(":memory:", check_same_thread=False)
        self.made = False

    def __call__(self, engine: Any) -> None:
        if engine.dialect.name != "sqlite" or not engine.url.database:
            return self.make(engine)
        if not self.made:
            self.make(engine)
        with closing(sqlite3.connect(engine.url.database)) as new:
            if self.made:
                self.first.backup(new)
            else:
                new.backup(self.first)
        self.made = True
