"""The warm start: a run that begins at the vectors of an earlier bundle."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recsys.bundle.bundle import Bundle
from recsys.encoders.concat import parts_of
from recsys.encoders.encoder import Encoder
from recsys.errors import DataError, RecsysError, SettingError
from recsys.models.base import Model, takes_aids
from recsys.models.mixture import Mixture, part_of
from recsys.models.registry import MODELS, model_class
from recsys.pipelines.doctor import open_bundle
from recsys.pipelines.run.evaluate import refuse_known_answers
from recsys.pipelines.run.run import Run


def start_warm(run: Run) -> Run:
    """The run with the bundle that its setting `warm` names, where its vectors are such that it can start
    from them.

    Raises SettingError where they are not: a model that does not learn step by step, another kind or dim, or
    a bundle that has seen what the run is judged on.
    """
    settings, model = run.settings, run.learner()
    if settings.warm is None:
        return run
    if not _can_start(settings.model_name, model):
        fit = ", ".join(sorted(other for other in MODELS if model_class(other).starts_from))
        raise SettingError(
            f"setting 'warm': {settings.model_name} does not learn in steps from vectors to start at; "
            f"{fit} do. Leave warm out."
        )
    try:
        bundle = open_bundle(settings.warm)
    except RecsysError as error:
        raise SettingError(f"setting 'warm': {error}") from None
    _refuse_other(settings.model_name, model, bundle.encoder, bundle)
    try:
        refuse_known_answers(run, bundle)
    except DataError as error:
        raise SettingError(
            f"warm = {settings.warm!r} would flatter the figures of this run: {error}"
        ) from None
    return replace(run, start=bundle)


def _can_start(name: str, model: Model) -> bool:
    """Whether learning, or that of a part, may begin at vectors that are there."""
    if isinstance(model, Mixture):
        return any(_can_start(part["name"], part_of(part)) for part in _weighted_parts(model))
    return _starts_from(name) is not None and takes_aids(model)


def _starts_from(name: str) -> str | None:
    """The kind of encoder that a learner may start from."""
    kind: str | None = getattr(model_class(name), "starts_from", None)
    return kind


def _weighted_parts(mixture: Mixture) -> list[Mapping[str, Any]]:
    """The parts of a mixture whose weight is not 0."""
    both = zip(mixture.settings.parts, mixture.settings.weights, strict=True)
    return [part for part, weight in both if weight]


def _refuse_other(name: str, model: Any, encoder: Encoder, bundle: Bundle) -> None:
    """Raises SettingError where the vectors of the bundle are not those of such a model."""
    which, leave = f"setting 'warm': bundle {bundle.bundle_id}", "or leave warm out to start cold"
    if isinstance(model, Mixture):
        parts = _weighted_parts(model)
        if len(parts_of(encoder)) != len(parts):
            raise SettingError(
                f"{which} ({bundle.manifest['name']}) is no mixture of {len(parts)} models. Name one of "
                f"the same parts, {leave}."
            )
        for part, own in zip(parts, parts_of(encoder), strict=True):
            if _can_start(part["name"], made := part_of(part)):
                _refuse_other(part["name"], made, own, bundle)
        return
    if encoder.encoder_kind != _starts_from(name):
        raise SettingError(
            f"{which} ({bundle.manifest['name']}) has an encoder of kind {encoder.encoder_kind!r}, and "
            f"{name} starts from {_starts_from(name)!r}. Name a bundle of {name}, {leave}."
        )
    if encoder.dim != model.settings.dim:
        raise SettingError(
            f"{which} holds vectors of dim {encoder.dim} for {name}, whose dim is {model.settings.dim}. "
            f"Set dim to {encoder.dim}, {leave}."
        )
