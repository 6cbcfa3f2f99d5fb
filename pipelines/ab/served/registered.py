"""Arms that name a bundle by an alias of the registry: `@challenger`, or `shop@challenger` of another
experiment in MLflow."""

from pathlib import Path

from recsys.bundle.root import copy_into
from recsys.errors import SettingError
from recsys.experiments.definition import Experiment
from recsys.experiments.frozen import read_frozen
from recsys.pipelines.tracking.address import bundle_of
from recsys.pipelines.tracking.registry import ALIASES, resolve


def with_registered(root: Path, experiment: Experiment) -> Experiment:
    """The experiment with the ids of the bundles that its aliases stand for, which are copied into a root
    where they are not there. An arm that was started stays with its bundle, whatever its alias means by now.

    Raises SettingError on a word that is no alias, TrackingError where no run has it.
    """
    frozen = {one.name: one.experiment for one in read_frozen(root)}.get(experiment.name)
    arms = dict(experiment.arms)
    for name, arm in experiment.arms.items():
        place, at, alias = arm.bundle.partition("@")
        if not at:
            continue
        if alias not in ALIASES:
            raise SettingError(
                f"arm {name!r} of experiment {experiment.name!r}: bundle = {arm.bundle!r} names no alias "
                f"of the registry. Write @{' or @'.join(ALIASES)}, or the id of a bundle."
            )
        if frozen is not None and name in frozen.arms:
            bundle = frozen.arms[name].bundle
        else:
            source = bundle_of(resolve(f"{place}/{alias}" if place else alias))
            bundle = copy_into(root, source, pointing=False).name
        arms[name] = arm.model_copy(update={"bundle": bundle})
    return experiment.model_copy(update={"arms": arms})
