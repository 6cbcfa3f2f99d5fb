"""Several models as one inner product: their vectors side by side, their scores added."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.guarded import Weights
from recsys.encoders.users import Users
from recsys.models.base import Learner, fit_with
from recsys.models.registry import make_model
from recsys.models.search import Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings, concat, embeddings_of
from recsys.seeding import generator
from recsys.training.loop import ALONE, Aids

_SAMPLE = 1_000  # users by whose scores the spread of a part is measured


class DomainWeights(Settings):
    """Weights of the parts for whoever asks for a domain; `recsys transfer` chooses them on validation."""

    known: tuple[float, ...] = Field(
        (), description="for people with events there; empty = as without a domain"
    )
    new: tuple[float, ...] = Field(
        (), description="for people without; all 0 = the popular answers, empty = as known"
    )


class MixtureSettings(Settings):
    """Settings of Mixture. Choose the weights on validation, zero included."""

    parts: tuple[dict[str, Any], ...] = Field(
        ({"name": "als", "dim": 256}, {"name": "spectral", "dim": 256}),
        min_length=1,
        description=(
            "models to learn, each with its `name` and settings, and `domain` where it learns from one alone"
        ),
    )
    weights: tuple[float, ...] = Field(
        (1.0, 0.1), description="weight of each part, its scores brought to spread 1"
    )
    by_domain: dict[str, DomainWeights] = Field(
        {}, description="weights for requests of a domain, by its name: {known = [..], new = [..]}"
    )

    @field_validator("by_domain")
    @classmethod
    def _as_many(cls, rules: dict[str, DomainWeights], info: ValidationInfo) -> dict[str, DomainWeights]:
        parts = info.data.get("parts", ())
        for weights in (one for rule in rules.values() for one in (rule.known, rule.new) if one):
            if len(weights) != len(parts) or not all(one >= 0 and np.isfinite(one) for one in weights):
                raise ValueError(
                    f"needs a finite weight of 0 or more for each of the {len(parts)} parts, got "
                    f"{list(weights)}"
                )
        return rules

    @field_validator("parts")
    @classmethod
    def _each_a_model(cls, parts: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for part in parts:
            if "name" not in part:
                raise ValueError(f"every part needs the `name` of a model, and {part} has none")
            part_of(part)
        return parts

    @field_validator("weights")
    @classmethod
    def _one_for_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        parts = info.data.get("parts", weights)
        if len(weights) != len(parts):
            raise ValueError(f"needs one weight for each of the {len(parts)} parts, got {len(weights)}")
        if not all(weight >= 0 and np.isfinite(weight) for weight in weights) or not any(weights):
            raise ValueError(f"weights must be finite, not negative, and not all 0; got {list(weights)}")
        return weights

    def weights_in(self, domain: str) -> Weights:
        """The weights of the parts for whoever asks for a domain that has a rule."""
        rule = self.by_domain[domain]
        known = rule.known or self.weights
        return Weights(known, rule.new or known)


class Mixture(Learner):
    """Learns each part on its own and puts the vectors side by side: one bundle, one index, one user encoder.

    The scores of a part are divided by their spread (the standard deviation over items, averaged over users),
    so that a weight means the same whatever the scale of a model. A part whose weights are all 0 is not
    learned.

    With `by_domain` the weights depend on the domain that a request asks for and on whether the person has
    events there: one that learns from all domains can stand beside one of that domain alone.
    """

    Settings = MixtureSettings
    search: ClassVar[Space] = {"weights.1": Span(0.0, 1.0)}
    starts_from: ClassVar[str | None] = "concat"

    def __init__(self, settings: MixtureSettings | None = None) -> None:
        self.settings = settings or MixtureSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, sum of the parts' dims) and a Concat encoder.

        Each part has its own checkpoint and start, and one that is complete is not learned again; a watch
        sees the whole, once. Raises ModelError where a part learns no vectors, or cannot learn.
        """
        settings, (names, codes) = self.settings, train.domains
        rules = {name: settings.weights_in(name) for name in settings.by_domain}
        for name in rules:
            train.in_domain(name)
        used = np.any([settings.weights, *(weights for rule in rules.values() for weights in rule)], axis=0)
        parts, spreads = list[Embeddings](), list[float]()
        for part in (part for part, has_weight in zip(settings.parts, used, strict=True) if has_weight):
            own = aids.for_part(len(parts))
            data = train.in_domain(part["domain"]) if "domain" in part else train
            learned = fit_with(part_of(part), data, seed=seed, progress=progress, aids=own)
            parts.append(embeddings_of(part["name"], learned))
            spreads.append(score_spread(parts[-1], data, seed=seed))

        def scale(weights: tuple[float, ...]) -> tuple[float, ...]:
            return tuple((np.array(weights)[used] / spreads).tolist())

        by_code = {names.index(name): Weights(*map(scale, rule)) for name, rule in rules.items()}
        whole = concat(parts, scale(settings.weights), by_code, codes)
        if aids.watch is not None:
            aids.watch(1, lambda: whole)
        return whole


def part_of(settings: Mapping[str, Any]) -> Any:
    """The learner that a table with `name` and settings stands for."""
    own = {key: value for key, value in settings.items() if key not in ("name", "domain")}
    return make_model(settings["name"], own, where=f"part {settings['name']!r} of the mixture")


def score_spread(learned: Embeddings, train: Dataset, *, seed: int) -> float:
    """The standard deviation of a user's scores over all items, averaged over a drawn sample of users."""
    histories = train.interactions.histories()
    active = np.flatnonzero(histories.items.lengths)
    drawn = np.sort(generator(seed, "score spread").choice(active, min(_SAMPLE, len(active)), replace=False))
    encoded = learned.encoder.encode(Users.of_rows(drawn, histories.take(drawn)))
    deviation = [float((vector @ learned.items.T).std()) for vector in encoded.vectors[encoded.known]]
    return max(float(np.mean(deviation)) if deviation else 0.0, 1e-12)
