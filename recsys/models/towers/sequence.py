"""The sequence model: whoever did these things in this order, what they do next."""

from typing import ClassVar

from recsys.data.dataset import Dataset
from recsys.models.base import Learner
from recsys.models.search import Choices, Space, Span
from recsys.models.towers.sequence_settings import SequenceSettings
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.loop import ALONE, Aids


class Sequence(Learner):
    """The vector of a person is what a net makes of the last events of their history, in their order.

    It is learned from all places of all histories: after each event, the next one is to be found among all
    items, or among drawn ones. An item has one vector, which is what goes into the net where it stands in a
    history and what is looked for. So an item with features needs no event, and the same person has another
    vector a moment later.

    Sources: Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (SASRec); Hidasi et al.,
    "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016 (gru); Klenitskiy, Vasilev,
    "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023 (softmax over all
    items); Zhai et al., "Actions Speak Louder than Words", ICML 2024 (the time until the next event).
    Relations: a two-tower model whose net is a bag knows a history without its order.
    """

    Settings = SequenceSettings
    search: ClassVar[Space] = {
        "dropout": Choices((None, 0.1, 0.2, 0.35, 0.5)),
        "learning_rate": Span(3e-4, 3e-3, log=True),
    }
    starts_from: ClassVar[str | None] = "tower"
    shares_batches: ClassVar[bool] = True
    knows_order: ClassVar[bool] = True

    def __init__(self, settings: SequenceSettings | None = None) -> None:
        self.settings = settings or SequenceSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim), a UserTower of a `SequenceNet`, and an ItemTower where items
        have features. A warm start gives the items their first vectors; the net starts anew.

        Raises ModelError on no history of two events, SettingError on a feature that the data lack, DataError
        on a value that is not of its declared kind.
        """
        from recsys.models.towers.sequence_fit import SequenceFit

        return SequenceFit(self.settings, train, seed, aids.warm).run(progress, aids)
