"""What ends learning before its epochs are over."""

from typing import Any

import pytest

from recsys.training import early_stopping
from recsys.training.early_stopping import Deadline, TooLongError


@pytest.mark.parametrize(
    ("ends", "seconds", "expected", "fitting"),
    [
        ([4.0], 12.0, 40.0, 2),  # not even four epochs like the first would fit: it tells enough
        ([4.0, 8.0], 20.0, 40.0, 3),
        ([4.0, 5.0], 20.0, None, 0),  # the first holds 3 s of what is prepared once
        ([4.0, 7.0], 20.0, 31.0, 4),  # 1 s of it: it comes again for whoever begins anew
        ([1.0, 2.0, 7.0], 20.0, 28.0, 4),  # epochs that become slow: 3 s each after the first, which had 1 s
        ([4.0, 5.75, 7.75], 20.0, None, 0),  # 20.875 s, after two epochs that were in time: it goes on
        ([4.0, 5.75, 8.5], 20.0, 24.25, 4),
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


@pytest.mark.parametrize(
    ("steps_s", "fitting"),
    [
        ([3.0] + [0.3] * 9, 4),  # 3 s an epoch: of 20 s, 4 are gone when that shows and 3 prepare what comes
        ([3.0] + [0.1] * 9, None),  # 13 s in all
        ([3.0] + [0.16] * 9, None),  # 19 s: in time
        ([3.0] + [0.21] * 9, None),  # 24 s, 1.2 times as long as it may: a whole epoch is to show it
        ([0.1] + [2.0] * 9, 0),  # an epoch of 20 s
    ],
)
def test_a_part_of_the_first_epoch_shows_what_is_far_too_long(
    monkeypatch: pytest.MonkeyPatch, steps_s: list[float], fitting: int | None
) -> None:
    moment = [100.0]
    monkeypatch.setattr(early_stopping.time, "monotonic", lambda: moment[0])
    deadline, ended = Deadline(10, 20.0), False
    for step, seconds in enumerate(steps_s, start=1):
        moment[0] += seconds
        try:
            deadline.within(step / len(steps_s))
        except TooLongError:
            ended = True
            break
    assert ended is (fitting is not None)
    assert deadline.fitting == (fitting or 0)
    assert ended is (deadline.expected is not None)


def test_what_takes_no_time_is_not_judged_by_its_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(early_stopping.time, "monotonic", lambda: moment[0])
    deadline = Deadline(1_000_000, 20.0)
    for step in range(1, 11):
        moment[0] += 0.01  # .1 s an epoch, 28 hours in all, by a clock that jumps
        deadline.within(step / 10)
    assert deadline.expected is None
