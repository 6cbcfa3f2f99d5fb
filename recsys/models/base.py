"""The contract of every learner."""

from inspect import signature
from typing import Any, ClassVar, Protocol

from scipy import sparse

from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.errors import ModelError
from recsys.models.search import Space
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import TrainedRanker
from recsys.training.loop import ALONE, Aids


class Model(Protocol):
    """Learns from a data set how to rank its items for a user.

    A model holds settings and nothing else: `fit` may be called any number of times, on any data, and never
    remembers.
    """

    settings: Settings

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings | TrainedRanker:
        """Item vectors (n_items, dim) with a user encoder into the same space; or, where the model has no
        vectors, a ranker (`ItemWeights`, for one), which is evaluated in the same way and cannot be exported.

        aids: what looks on after each epoch, saves the state, or is there to start from; learners without
        epochs have no use for it.

        The same seed, versions and thread count give the same bytes. Raises ModelError where the data cannot
        be learned from, with what to change.
        """


class Learner:
    """What is true of a learner, as class attributes with their usual values: ours inherit them, and so may
    yours.

    search: what of its settings is worth searching, and where. starts_from: the kind of encoder whose vectors
    it may start from (`warm`), None = it has nothing to start. starts_narrow: whether it may be the narrow
    model of `recsys.models.narrowed`. shares_batches: whether processes of torchrun share its batches.
    keeps_vectors: whether it ends in vectors, which a bundle can hold. knows_taste: whether it knows which
    items go together. knows_order: whether the order of a history counts, so that what comes next may be none
    of what goes together. learns_dislikes: whether it has a setting `disliked_weight`, by which events that
    say "not this" are learned from as negatives.
    """

    search: ClassVar[Space] = {}
    starts_from: ClassVar[str | None] = None
    starts_narrow: ClassVar[bool] = False
    shares_batches: ClassVar[bool] = False
    keeps_vectors: ClassVar[bool] = True
    knows_taste: ClassVar[bool] = True
    knows_order: ClassVar[bool] = False
    learns_dislikes: ClassVar[bool] = False


def takes_aids(model: Model) -> bool:
    """Whether `fit` takes aids; a learner of the user's own that has no use for them need not."""
    return "aids" in signature(model.fit).parameters


def fit_with(
    model: Model, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
) -> Embeddings | TrainedRanker:
    """`model.fit`, with the aids where it takes them."""
    given: Any = {"aids": aids} if takes_aids(model) else {}
    return model.fit(train, seed=seed, progress=progress, **given)


def matrix_to_learn(name: str, train: Dataset) -> sparse.csr_array:
    """The user-item matrix, float32 (n_users, n_items). Raises ModelError on no events."""
    refuse_no_events(name, train)
    return train.interactions.matrix()


def refuse_no_dislikes(name: str, train: Dataset) -> None:
    """Raises ModelError where nothing says "not this": `disliked_weight` would have no effect."""
    if not len(train.disliked):
        raise ModelError(
            f'{name}: disliked_weight learns from events that say "not this", and {train.name} has none. '
            "Say which "
            "they are by prepare.disliked_rating, or a weight below 0 in prepare.event_weights, or leave "
            "it out."
        )


def refuse_no_events(name: str, train: Dataset) -> None:
    """Raises ModelError where there are no events to learn from."""
    if not len(train.interactions):
        raise ModelError(f"{name} cannot learn from {train.name}: it has no events.")
