"""A run in several processes, started by torchrun: the first does all of a run, the others learn along with
it."""

import os
from collections.abc import Mapping
from typing import Any

from recsys.data.dataset import Dataset
from recsys.errors import SettingError
from recsys.models.base import fit_with
from recsys.models.registry import model_class
from recsys.pipelines.run.checkpoints import Fit, Kept, folder_of
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.run.warm_start import start_warm
from recsys.training.loop import processes


def assists() -> bool:
    """Whether this process is not the first of several."""
    return processes() > 1 and os.environ["RANK"] != "0"


def refuse_alone(settings: RunSettings) -> None:
    """Raises SettingError where torchrun started several processes and the model learns in one."""
    if processes() > 1 and not _learns_together(settings.model):
        raise SettingError(
            f"torchrun started {processes()} processes, and {settings.model_name} learns in one; two_tower "
            f"shares its batches among several. Run it without torchrun."
        )


def _learns_together(model: Any) -> bool:
    """Whether it is the learner that does, or a model with such a one within: a mixture, a narrowed model."""
    if isinstance(model, Mapping):
        shares = "name" in model and getattr(model_class(str(model["name"])), "shares_batches", False)
        return bool(shares) or any(map(_learns_together, model.values()))
    return isinstance(model, list | tuple) and any(map(_learns_together, model))


def meet() -> None:
    """Waits for the other processes: the checkpoint that all go on from is as it should be."""
    if processes() > 1:
        from recsys.training.group import group

        group().wait()


def assist(run: Run) -> None:
    """Learns along with the first process, and leaves nothing behind."""
    run = start_warm(run)
    kept = Kept(run, folder_of(run), reads_only=True)
    meet()
    fits: list[tuple[Fit, Dataset]] = [("measured", run.holdout.train)]
    if run.settings.refit:
        fits.append(("refit", run.everything()))
    for fit, source in fits:
        fit_with(run.learner(), source, seed=run.settings.seed, aids=kept.aids(fit, source))
