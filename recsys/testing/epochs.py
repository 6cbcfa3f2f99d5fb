"""What a learner keeps that goes over its data in epochs, as tests for a suite of your own. Needs pytest.

Inherit from `EpochContract` beside the contracts of `recsys.testing.learners`:

    class TestMine(LearnerContract, EpochContract):
        case = Case("my_package.my_module:MyModel", {"dim": 8, "epochs": 20})
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from recsys.models.base import fit_with
from recsys.models.registry import make_model
from recsys.progress import Step
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.learners import Case, Contract, answers
from recsys.testing.toys import random_log
from recsys.training.checkpoint import Checkpoint, Figures, State
from recsys.training.loop import Aids


class EpochContract(Contract):
    """What learners promise that go over their data in epochs (`recsys.training.epochs`). Theirs must be four
    or more, by the setting `epochs`."""

    def test_a_run_that_goes_on_ends_in_the_bytes_of_one_that_was_never_stopped(
        self, learner: Case, tmp_path: Path
    ) -> None:
        """Stopped as an epoch ends and before its state is saved, it learns this one again and none before
        it."""
        model, data = make_model(learner.name, learner.settings), random_log(1)
        whole = _Steps()
        learned = answers(fit_with(model, data, seed=1, progress=whole), data)
        epochs = whole[-1]
        for stop in (2, epochs.total - 1):
            checkpoint, resumed = _Recorded(tmp_path / str(stop), "key"), _Steps()
            aids = Aids(checkpoint=checkpoint, checkpoint_s=0)
            with pytest.raises(KeyboardInterrupt):
                fit_with(model, data, seed=1, progress=_Steps(epochs._replace(done=stop)), aids=aids)
            again = fit_with(model, data, seed=1, progress=resumed, aids=aids)
            assert answers(again, data) == learned
            assert resumed == whole
            assert checkpoint.saved == list(range(1, epochs.total + 1))

    def test_whoever_looks_on_sees_each_epoch_and_changes_nothing(self, learner: Case) -> None:
        model, data, seen = make_model(learner.name, learner.settings), random_log(1), list[list[bytes]]()

        def watch(epoch: int, learned: Callable[[], Embeddings]) -> bool:
            assert epoch == len(seen) + 1
            seen.append(answers(learned(), data))
            return False

        learned = fit_with(model, data, seed=1, aids=Aids(watch=watch))
        assert answers(learned, data) == seen[-1] == answers(learner.fit(data), data)
        assert seen[0] != seen[1]

    def test_whoever_looks_on_may_end_it(self, learner: Case) -> None:
        model, data = make_model(learner.name, learner.settings), random_log(1)
        steps, seen = _Steps(), list[list[bytes]]()

        def watch(epoch: int, learned: Callable[[], Embeddings]) -> bool:
            seen.append(answers(learned(), data))
            return epoch == 3

        learned = fit_with(model, data, seed=1, progress=steps, aids=Aids(watch=watch))
        assert (steps[-1].done, len(seen)) == (3, 3)
        assert answers(learned, data) == seen[-1]


class _Steps(list[Step]):
    """The steps that were reported, up to one at which somebody presses Ctrl-C."""

    def __init__(self, stop: Step | None = None) -> None:
        super().__init__()
        self.stop = stop

    def __call__(self, step: Step) -> None:
        self.append(step)
        if self.stop is not None and (step.task, step.done) == (self.stop.task, self.stop.done):
            raise KeyboardInterrupt


class _Recorded(Checkpoint):
    """Remembers how many epochs were behind each state that it saved."""

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__(folder, key)
        self.saved = list[int]()

    def save(self, figures: Sequence[Figures], state: State) -> None:
        self.saved.append(len(figures))
        super().save(figures, state)
