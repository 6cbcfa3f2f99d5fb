"""YouTube's deep network for candidates: the two-tower model with that paper's choices."""

from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from recsys.data.dataset import Dataset
from recsys.models.search import Space, Span
from recsys.models.towers.two_tower import TwoTower, TwoTowerFit, TwoTowerSettings
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.loop import ALONE, Aids, Start
from recsys.training.sampling import Kind


class YouTubeDNNSettings(TwoTowerSettings):
    """Settings of YouTubeDNN: those of TwoTower with the paper's values. Tune `learning_rate`, `hidden` and
    `epochs` first."""

    learning_rate: float = Field(0.005, gt=0, description="Adam's, at the start")
    temperature: float = Field(1.0, gt=0, description="divides the scores; 1 = the softmax of the paper")
    similarity: Literal["cosine", "dot"] = Field(
        "dot", description="dot: the softmax of inner products, as in the paper"
    )
    user_ids: bool = Field(False, description="whether known users have a row of their own; not in the paper")
    longest_history: int = Field(50, ge=1, description="events of a history that count, from its end")
    hidden: int = Field(
        128, ge=0, description="width of the layer after the sums, in the tower of users alone; 0 = none"
    )
    sampler: Kind = Field(
        "popularity", description="where negatives come from; each is corrected for its chance"
    )
    initial: Literal["spectral", "random"] = Field("random", description="where the rows of ids start")
    example_age: bool = Field(
        True,
        description="in learning, the time from an event to the last of all goes into the tower of users, "
        "and none in answering, so that what is popular is so as of today; without times it does nothing",
    )


class YouTubeDNN(TwoTower):
    """People by what they watched, and nothing of who they are; the next item by a sampled softmax; the
    example's age.

    A person is the mean of the vectors of their history, which are not those of the scored items, with their
    features and a layer after it. What differs from the paper: the layer is added to what goes into it, and
    starts at zero; the weights of places in a history are learned, where it has equal ones.

    Source: Covington, Adams, Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
    Relations: a preset of TwoTower, with the age and without a layer for items; Sequence reads the order.
    """

    Settings = YouTubeDNNSettings
    search: ClassVar[Space] = {
        "learning_rate": Span(1e-3, 0.1, log=True),
        "temperature": Span(0.1, 2.0, log=True),
    }

    def __init__(self, settings: YouTubeDNNSettings | None = None) -> None:
        super().__init__(settings or YouTubeDNNSettings())

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """As TwoTower's."""
        assert isinstance(self.settings, YouTubeDNNSettings)
        return YouTubeDNNFit(self.settings, train, seed, aids.warm).run(progress, aids)


class YouTubeDNNFit(TwoTowerFit):
    """The towers of TwoTower, whose layer is the users' alone, and which learn from the age of each
    example."""

    name = "youtube_dnn"

    def __init__(
        self, settings: YouTubeDNNSettings, train: Dataset, seed: int, warm: Start | None = None
    ) -> None:
        time, net = train.interactions.time, _net(settings.hidden)
        if settings.example_age and time is not None and len(time):
            net = _net(settings.hidden, ages=(int(time[0]), int(time[-1])))
        super().__init__(settings.model_copy(update={"hidden": 0}), train, seed, warm, net)


def _net(hidden: int, ages: tuple[int, int] | None = None) -> Any:
    """What makes the tower of users, whatever the layer of the other tower. ages: the first and last second
    of the log, None = the tower does not look at when."""

    def make(layout: Any, table: Any, numbers: int, _: int, *args: Any, **more: Any) -> Any:
        from recsys.training.towers.bag_net import AgedBagNet, LearnedBagNet

        make = LearnedBagNet if ages is None else partial(AgedBagNet, ages=ages)
        return make(layout, table, numbers, hidden, *args, **more)

    return make
