"""Runs in this process: a home of their own, and nothing of MLflow or pictures where these do not matter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import TrackingError
from recsys.pipelines.tracking import client


@contextmanager
def untracked_in(home: Path) -> Iterator[None]:
    """Runs of this block lie below `home`, their bundles in its `mlruns/trained`: no store, no pictures."""

    def refuse(*arguments: Any, **named: Any) -> str:
        raise TrackingError("no store here.")

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RECSYS_HOME", str(home))
        patched.setattr(client, "start_run", refuse)
        patched.setattr("recsys.pipelines.run.train.draw", lambda *arguments: None)
        yield


@pytest.fixture
def untracked_home(tmp_path: Path) -> Iterator[Path]:
    with untracked_in(tmp_path):
        yield tmp_path
