"""What learning ends in: item vectors and an encoder of users into the same space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, I32, Bool
from recsys.encoders.concat import Concat
from recsys.encoders.encoder import Encoder, ItemEncoder
from recsys.encoders.guarded import Guarded, Weights
from recsys.encoders.item_concat import ItemConcat
from recsys.errors import ModelError
from recsys.retrieval.ranker import TrainedRanker


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What learning ends in: item vectors float32 (n_items, dim), C-contiguous, and an encoder into the same
    space.

    An item whose row is all zeros has no place in the space (it was never trained) and is never retrieved.
    item_encoder: what gives a brand-new item its vector from its features, where the model has that.
    """

    items: F32
    encoder: Encoder
    item_encoder: ItemEncoder | None = None

    def __post_init__(self) -> None:
        if self.items.ndim != 2 or self.items.shape[1] != self.encoder.dim:
            raise ModelError(
                f"item vectors of shape {self.items.shape} do not fit an encoder of dim {self.encoder.dim}."
            )
        if not np.isfinite(self.items).all():
            row = int(np.argmax(~np.isfinite(self.items).all(axis=1)))
            raise ModelError(
                f"item vectors must be finite; row {row} is not. Training diverged: raise the "
                "regularization, lower the learning rate, or leave numbers out of the features."
            )

    @property
    def trained(self) -> Bool:
        """(n_items,): which items have a vector."""
        trained: Bool = np.asarray(self.items.any(axis=1))
        return trained


def embeddings_of(name: str, learned: Embeddings | TrainedRanker) -> Embeddings:
    """What a bundle can hold of what the model `name` learned. Raises ModelError where there are no
    vectors."""
    if not isinstance(learned, Embeddings):
        raise ModelError(
            f"{name} learns no vectors, so it can be judged but not exported or served; train a model "
            "that does: als."
        )
    return learned


def concat(
    parts: Sequence[Embeddings],
    weights: Sequence[float],
    rules: Mapping[int, Weights] | None = None,
    domain: I32 | None = None,
) -> Embeddings:
    """Models of the same items as one: its score is the weighted sum of theirs.

    An item that any of them knows has a place, and a brand-new one where any part has an item encoder. rules,
    domain: other weights by the domain that is asked for, as in `Guarded`; None = the same for all. Raises
    ModelError where the parts have different items.
    """
    if len({len(part.items) for part in parts}) != 1:
        raise ModelError(
            f"only models of the same items concatenate, got {[len(part.items) for part in parts]} items."
        )
    items = np.ascontiguousarray(np.hstack([part.items for part in parts]))
    encoders, of_items = [part.encoder for part in parts], [part.item_encoder for part in parts]
    encoder = (
        Concat(encoders, weights)
        if not rules or domain is None
        else Guarded(encoders, weights, rules, domain)
    )
    if all(one is None for one in of_items):
        return Embeddings(items, encoder)
    return Embeddings(items, encoder, ItemConcat(of_items, items, [part.encoder.dim for part in parts]))
