"""What ends learning before its epochs are over."""

from typing import Any

import pytest

from recsys.training import early_stopping
from recsys.training.early_stopping import Deadline


@pytest.mark.parametrize(
    ("ends", "seconds", "expected", "fitting"),
    [
        ([4.0], 12.0, 40.0, 2),  # not even four epochs like the first would fit: it tells enough
        ([4.0, 8.0], 20.0, 40.0, 3),
        ([4.0, 5.0], 20.0, None, 0),  # the first holds 3 s of what is prepared once
        ([4.0, 7.0], 20.0, 31.0, 4),  # 1 s of it: it comes again for whoever begins anew
        ([1.0, 2.0, 7.0], 20.0, 28.0, 4),  # epochs that become slow: 3 s each after the first, which had 1 s
    ],
)
def test_learning_ends_as_soon_as_epochs_show_that_it_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
    ends: list[float],
    seconds: float,
    expected: float | None,
    fitting: int,
) -> None:
    moment = [100.0]
    monkeypatch.setattr(early_stopping.time, "monotonic", lambda: moment[0])
    deadline = Deadline(10, seconds)
    stopped = []
    for epoch, end in enumerate(ends, start=1):
        moment[:] = [100.0 + end]
        stopped.append(deadline(epoch, lambda: pytest.fail("nobody looks at the model")))
    assert stopped == [*[False] * (len(ends) - 1), expected is not None]
    assert deadline.expected == expected
    assert deadline.fitting == fitting


@pytest.mark.parametrize(("compiled_s", "expected"), [(0.0, 40.0), (3.0, None)])
def test_what_is_compiled_once_in_an_installation_is_not_counted_as_learning(
    monkeypatch: pytest.MonkeyPatch, compiled_s: float, expected: float | None
) -> None:
    moment = [100.0, 10.0]  # of the clock, and seconds of compiling so far
    monkeypatch.setattr(early_stopping.time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(early_stopping, "compile_seconds", lambda: moment[1])
    deadline, learned = Deadline(10, 12.0), lambda: pytest.fail("nobody looks at the model")
    moment[:] = 104.0, 10.0 + compiled_s  # an epoch of 4 s, or of 1 s and 3 s of compiling
    ended: Any = deadline(1, learned)
    assert deadline.expected == expected
    assert ended is (expected is not None)
