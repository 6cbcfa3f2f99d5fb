"""The warm start: a run that begins at the vectors of an earlier bundle."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.doctor import opened
from pipelines.settings import RunSettings
from recsys.arrays import F32, I32, Bool
from recsys.data.dataset import Dataset
from recsys.data.split import Holdout
from recsys.errors import DataError, RecsysError, SettingError
from recsys.models.base import Model, takes_aids
from recsys.models.mixture import Mixture, part_of
from recsys.models.registry import make_model
from recsys.retrieval.bag import Bag
from recsys.retrieval.bundle import Bundle
from recsys.retrieval.concat import Concat
from recsys.retrieval.encoders import Encoder
from recsys.retrieval.users import Users
from recsys.training.loop import Start

_KINDS = {
    "als": "solve",
    "bpr": "bag",
    "softmax": "bag",
    "two_tower": "tower",
    "variational": "bag",
}  # the encoder that a learner ends in, and may start from
_STARTS = {*_KINDS.values(), Concat.kind}


def earlier_bundle(settings: RunSettings, holdout: Holdout) -> Bundle | None:
    """The bundle that `settings.warm` names, where its vectors are such that the run can start from them.

    Raises SettingError where they are not: a model that does not learn step by step, another kind or dim, or a bundle
    that has seen what the run is judged on.
    """
    if settings.warm is None:
        return None
    model = make_model(settings.model_name, settings.model_settings)
    if not _can_start(settings.model_name, model):
        fit = ", ".join([*sorted(_KINDS), "mixture"])
        raise SettingError(
            f"setting 'warm': {settings.model_name} does not learn in steps from vectors to start at; {fit} do. Leave "
            "warm out."
        )
    try:
        bundle = opened(settings.warm)
    except RecsysError as error:
        raise SettingError(f"setting 'warm': {error}") from None
    _refuse_other(settings.model_name, model, bundle.encoder, bundle)
    if not settings.split.allow_leaks:
        from pipelines.evaluate import refuse_known_answers

        try:
            refuse_known_answers(bundle, settings, holdout)
        except DataError as error:
            raise SettingError(f"warm = {settings.warm!r} would flatter the figures of this run: {error}") from None
    return bundle


def _can_start(name: str, model: Model) -> bool:
    """Whether learning, or that of a part, may begin at vectors that are there."""
    if isinstance(model, Mixture):
        return any(_can_start(part["name"], part_of(part)) for part in _learned(model))
    return name in _KINDS and takes_aids(model)


def _learned(mixture: Mixture) -> list[Mapping[str, Any]]:
    """The parts that have a weight."""
    both = zip(mixture.settings.parts, mixture.settings.weights, strict=True)
    return [part for part, weight in both if weight]


def _refuse_other(name: str, model: Any, encoder: Encoder, bundle: Bundle) -> None:
    """Raises SettingError where the vectors of the bundle are not those of such a model."""
    which, leave = f"setting 'warm': bundle {bundle.bundle_id}", "or leave warm out to start cold"
    if isinstance(model, Mixture):
        parts = _learned(model)
        if not isinstance(encoder, Concat) or len(encoder.parts) != len(parts):
            raise SettingError(
                f"{which} ({bundle.manifest['name']}) is no mixture of {len(parts)} models. Name one of the same "
                f"parts, {leave}."
            )
        for part, own in zip(parts, encoder.parts, strict=True):
            if _can_start(part["name"], made := part_of(part)):
                _refuse_other(part["name"], made, own, bundle)
        return
    if encoder.kind != _KINDS[name]:
        raise SettingError(
            f"{which} ({bundle.manifest['name']}) has an encoder of kind {encoder.kind!r}, and {name} starts from "
            f"{_KINDS[name]!r}. Name a bundle of {name}, {leave}."
        )
    if encoder.dim != model.settings.dim:
        raise SettingError(
            f"{which} holds vectors of dim {encoder.dim} for {name}, whose dim is {model.settings.dim}. Set dim to "
            f"{encoder.dim}, {leave}."
        )


def start_of(bundle: Bundle, train: Dataset) -> Start:
    """The vectors of a bundle in the numbering of the data to learn from.

    Ids that the bundle knows keep their rows. A new user's row is the bundle's fold-in of what he had of its items, a
    new item's the mean of the rows of those who had it, brought to the length of the other items' rows. What has no
    such relation to the bundle has zeros. A column that all users end in alike is left out: its learner finds it anew.
    """
    from pipelines.evaluate import Translated

    asked = Translated(bundle, train)
    everybody = Users.known(np.arange(train.n_users), train.interactions.histories())
    return _start(bundle.encoder, bundle.item_vectors, asked.translated(everybody), asked.item, train)


def _start(encoder: Encoder, vectors: F32, users: Users, item: I32, train: Dataset) -> Start:
    """vectors: (n_items of the bundle, dim). users, item: those of the data, in the bundle's numbering."""
    if isinstance(encoder, Concat):
        ends = np.cumsum([part.dim for part in encoder.parts])
        parts = tuple(
            _start(part, vectors[:, end - part.dim : end], users, item, train) if part.kind in _STARTS else None
            for part, end in zip(encoder.parts, ends, strict=True)
        )
        users_of_none, items_of_none = (np.zeros((count, 0), np.float32) for count in (train.n_users, train.n_items))
        return Start(users_of_none, items_of_none, parts)
    rows, _ = encoder.encode(users)
    if isinstance(encoder, Bag):  # a level is no taste
        rows, vectors = rows[:, : encoder.width], vectors[:, : encoder.width]
    items = np.zeros((train.n_items, rows.shape[1]), np.float32)
    items[item >= 0] = vectors[item[item >= 0]]
    return Start(rows, _with_new(items, rows, train))


def _with_new(items: F32, users: F32, train: Dataset) -> F32:
    """The item rows, with those of zeros filled by the mean of the rows of the users who had them."""
    matrix = train.interactions.matrix()
    old: Bool = np.asarray(items.any(axis=1))
    had = matrix.T @ users.any(axis=1).astype(np.float32)  # (n_items,): by so many who have a row
    means = (matrix.T @ users) / np.maximum(had, np.float32(1e-12))[:, None]
    both = old & (had > 0)
    length, mean_length = (float(np.linalg.norm(rows[both])) for rows in (items, means))
    scale = length / mean_length if mean_length else 1.0
    return np.where(old[:, None], items, means * np.float32(scale)).astype(np.float32)
