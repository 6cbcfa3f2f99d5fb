"""A wide model learned first, then a narrow one that starts from the best that its width can hold of it."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from recsys.arrays import F32, F64
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.models.base import Learner, fit_with
from recsys.models.mixture import part_of
from recsys.models.registry import model_class
from recsys.models.search import Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings, embeddings_of
from recsys.training.loop import ALONE, Aids, Start

_ENCODED = 1 << 14  # users encoded at a time
_FLOOR = 1e-9  # of the largest eigenvalue: below, a direction is noise


class NarrowedSettings(Settings):
    """Settings of Narrowed. Tune the wide model first, then the narrow one as if it stood alone."""

    wide: dict[str, Any] = Field(
        {"name": "softmax", "dim": 256},
        description="model to learn first, with its `name` and settings: a mixture, say",
    )
    narrow: dict[str, Any] = Field(
        {"name": "softmax", "dim": 64},
        description="model to serve, softmax or two_tower, which starts from the wide one",
    )

    @field_validator("wide", "narrow")
    @classmethod
    def _a_model(cls, part: dict[str, Any]) -> dict[str, Any]:
        if "name" not in part:
            raise ValueError(f"needs the `name` of a model, and {part} has none")
        part_of(part)
        return part

    @field_validator("narrow")
    @classmethod
    def _one_that_starts(cls, part: dict[str, Any]) -> dict[str, Any]:
        if not getattr(model_class(part["name"]), "starts_narrow", False):
            raise ValueError(
                f"{part['name']} does not start from vectors of others; softmax and two_tower do"
            )
        return part


class Narrowed(Learner):
    """What a wide model or a mixture knows, in vectors that are cheap to keep and to search.

    Of the scores of all users over all items by the wide model, the nearest matrix of the narrow rank is
    where the narrow model starts instead of at the spectrum of the events; from there it learns as ever. On
    gowalla that is worth more than any other start (docs/experiments.md).

    Source: the truncated singular value decomposition of a product of two thin matrices, by their Gram
    matrices.
    """

    Settings = NarrowedSettings
    search: ClassVar[Space] = {
        "narrow.temperature": Span(0.02, 0.5, log=True),
        "narrow.learning_rate": Span(3e-3, 0.3, log=True),
        "narrow.propagation": Span(0.0, 1.0),
    }

    def __init__(self, settings: NarrowedSettings | None = None) -> None:
        self.settings = settings or NarrowedSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """What the narrow model ends in. A watch sees the narrow model alone.

        Raises ModelError where the wide model learns no vectors, or is not as wide as the narrow one.
        """
        wide, narrow = self.settings.wide, self.settings.narrow
        learned = fit_with(part_of(wide), train, seed=seed, progress=progress, aids=aids.for_part(0))
        model = part_of(narrow)
        start = narrow_rows(embeddings_of(wide["name"], learned), train, model.settings.dim)
        own = replace(aids.for_part(1), watch=aids.watch, warm=start)
        fitted = fit_with(model, train, seed=seed, progress=progress, aids=own)
        return embeddings_of(narrow["name"], fitted)


def narrow_rows(wide: Embeddings, train: Dataset, dim: int) -> Start:
    """Rows float32 (n, dim) of users and items whose inner products are the nearest of that rank to those of
    `wide`.

    "Nearest" by squared error over all users of training and all items. Fewer columns come where `wide` has
    fewer.
    """
    past, n_users = train.interactions.histories(), train.n_users
    blocks = (np.arange(at, min(at + _ENCODED, n_users)) for at in range(0, n_users, _ENCODED))
    users = np.concatenate(
        [wide.encoder.encode(Users.of_rows(block, past.take(block))).vectors for block in blocks]
    )
    root, inverse = _roots(_gram(users))
    spectrum, directions = np.linalg.eigh(root @ _gram(wide.items) @ root)
    kept = np.argsort(-spectrum)[:dim]
    scale = np.maximum(spectrum[kept], _FLOOR * spectrum.max()) ** 0.25
    of_users, of_items = inverse @ directions[:, kept] * scale, root @ directions[:, kept] / scale
    rows = (users @ of_users).astype(np.float32), (wide.items @ of_items).astype(np.float32)
    return Start(*rows, finished=False)


def _gram(rows: F32) -> F64:
    """float64 (width, width)."""
    size = _ENCODED
    parts = (rows[at : at + size].astype(np.float64) for at in range(0, len(rows), size))
    return np.sum([part.T @ part for part in parts], axis=0)  # type: ignore[no-any-return]


def _roots(gram: F64) -> tuple[F64, F64]:
    """The symmetric root of a Gram matrix, and its inverse."""
    values, vectors = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(values, _FLOOR * values.max()))
    return vectors * values @ vectors.T, vectors / values @ vectors.T
