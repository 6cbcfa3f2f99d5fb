"""What ends learning before its epochs are over."""

from typing import Any

import pytest

from recsys.training import early_stopping
from recsys.training.early_stopping import Deadline


@pytest.mark.parametrize(("compiled_s", "expected"), [(0.0, 40.0), (3.0, None)])
def test_what_is_compiled_once_in_an_installation_is_not_counted_as_learning(
    monkeypatch: pytest.MonkeyPatch, compiled_s: float, expected: float | None
) -> None:
    moment = [100.0, 10.0]  # of the clock, and seconds of compiling so far
    monkeypatch.setattr(early_stopping.time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(early_stopping, "compile_seconds", lambda: moment[1])
    deadline, learned = Deadline(10, 20.0), lambda: pytest.fail("nobody looks at the model")
    moment[:] = 104.0, 10.0 + compiled_s  # an epoch of 4 s, or of 1 s and 3 s of compiling
    ended: Any = deadline(1, learned)
    assert deadline.expected == expected
    assert ended is (expected is not None)
