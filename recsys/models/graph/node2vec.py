"""node2vec and DeepWalk: sentences are random walks over the graph of people and items, or one of one's
own."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import I32, I64, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.errors import ModelError
from recsys.matrix.spectrum import unit
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.graph.walks import Graph
from recsys.models.neighbours.window_fit import WindowFit
from recsys.models.search import Choices, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.epochs import Rows
from recsys.training.loop import ALONE, Aids


class Node2VecSettings(Settings):
    """Settings of Node2Vec. Tune `negative_exponent`, `window` and `epochs` first; p = q = 1 is DeepWalk."""

    dim: int = Field(64, ge=1, description="width of the vectors")
    epochs: int = Field(10, ge=1, description="walks from each node; the learning rate falls to 0 over them")
    batch_size: int = Field(64, ge=1, description="walks between two steps of the learning rate")
    learning_rate: float = Field(0.05, gt=0, description="at the start")
    shared_ids: bool = Field(
        False,
        description="a person and an item of the same id are one node: for a graph of one's own, as of "
        "friends, whose edges are the log",
    )
    walk_length: int = Field(40, ge=2, description="nodes of a walk")
    p: float = Field(1.0, gt=0, description="node2vec's p: a step back is 1 / p times as likely")
    q: float = Field(
        1.0,
        gt=0,
        description="node2vec's q: a step to no neighbour of the node before is 1 / q times as likely",
    )
    window: int = Field(5, ge=1, description="steps to either side that count as near")
    negatives: int = Field(
        5, ge=1, description="nodes drawn for each place, shared by all pairs of its window"
    )
    negative_exponent: float = Field(
        0.75, ge=-1, le=1.5, description="power of a node's degree by which it is drawn"
    )
    served: Literal["output", "input"] = Field(
        "output", description="vectors of items: output scores what is near, input what is alike, by cosine"
    )
    user_rows: bool = Field(
        True, description="known people are answered from their node; false: from their histories, like all"
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which one of the history counts half; none = the node answers"
    )


class Node2Vec(Learner):
    """Skip-gram on walks over the graph whose edges are the events, so that what few steps join is alike.

    An edge is walked as often as the events of its pair weigh. Known people are answered from their node's
    input vector, all others from the mean of the input vectors of their history. Between people and items no
    two neighbours of a node are neighbours, so there only p against q counts.

    Sources: Perozzi, Al-Rfou, Skiena, "DeepWalk: Online Learning of Social Representations", KDD 2014;
    Grover, Leskovec, "node2vec: Scalable Feature Learning for Networks", KDD 2016.
    Relations: Item2Vec takes histories for the walks; Spectral decomposes the same graph (Qiu et al.,
    "Network Embedding as Matrix Factorization", WSDM 2018); LightGCN averages over it.
    """

    Settings = Node2VecSettings
    search: ClassVar[Space] = {
        "negative_exponent": Span(-0.5, 1.0),
        "learning_rate": Span(0.005, 0.3, log=True),
        "window": Choices((2, 3, 5, 10)),
        "p": Span(0.25, 4.0, log=True),
        "q": Span(0.25, 4.0, log=True),
    }

    def __init__(self, settings: Node2VecSettings | None = None) -> None:
        self.settings = settings or Node2VecSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder with the users' rows. Nodes without an edge
        get zeros.

        Raises ModelError on no events, on a graph without an edge between two nodes, and when learning
        diverges.
        """
        return Node2VecFit(self.settings, train, seed).run(progress, aids)


class Node2VecFit(WindowFit):
    """A row for each node; an epoch is one walk from each node with an edge."""

    name, cure = "node2vec", "Lower learning_rate."

    def __init__(self, settings: Node2VecSettings, train: Dataset, seed: int) -> None:
        self.settings, self.n_items = settings, train.n_items
        matrix, self.nodes = matrix_to_learn("node2vec", train), nodes_of(train, settings.shared_ids)
        edges = edges_of(matrix, self.nodes)
        if not edges.nnz:
            raise ModelError(
                f"node2vec: no event of {train.name} joins two nodes: all lead from an id to itself. Bring "
                f"events between different ids, or leave shared_ids out."
            )
        self.graph, degrees = Graph.of(edges), np.asarray(edges.sum(axis=1))
        self.joined = degrees > 0
        starts = np.flatnonzero(self.joined)
        super().__init__(settings, seed, Rows(starts), float(len(starts)))
        self.start("node2vec init", len(degrees), degrees)

    def windows_of(self, batch: Array, rng: np.random.Generator) -> tuple[I64, I32, I64]:
        s = self.settings
        walks = self.graph.walks(batch, s.walk_length, s.p, s.q, int(rng.integers(1, 2**62)))
        return np.arange(len(batch) + 1) * s.walk_length, walks.ravel(), np.arange(len(batch))

    def finish(self) -> Embeddings:
        s = self.settings
        inputs, outputs = (
            np.where(self.joined[:, None], one, np.float32(0)) for one in (self.inputs, self.outputs)
        )
        if s.served == "input":
            inputs = outputs = unit(inputs)
        users = inputs[self.nodes] if s.user_rows and s.half_life is None else None
        # by cosine the bag is of unit vectors and at length 1, else their mean
        encoder = Bag(
            inputs[: self.n_items].copy(), users, unit=s.served == "input", mean=True, half_life=s.half_life
        )
        return Embeddings(outputs[: self.n_items].copy(), encoder)


def nodes_of(train: Dataset, shared_ids: bool) -> I64:
    """int64 (n_users,): the node of each user. Those of items come first, in their order; shared_ids: a user
    with the id of an item has its node."""
    nodes = np.full(train.n_users, -1, np.int64)
    if shared_ids:
        nodes[:] = train.item_ids.indices(list(train.user_ids))
    alone = nodes < 0
    nodes[alone] = train.n_items + np.arange(np.count_nonzero(alone))
    return nodes


def edges_of(matrix: sparse.csr_array, nodes: I64) -> sparse.csr_array:
    """The undirected edges (n, n) of all nodes, those of items first: what the events of a pair weigh, of
    both directions the larger where both are there. None leads from a node to itself.

    matrix: (n_users, n_items); nodes: int64 (n_users,), the node of each user.
    """
    pairs, n = matrix.tocoo(), max(matrix.shape[1], int(nodes.max(initial=-1)) + 1)
    one, other = nodes[pairs.row], pairs.col
    apart = one != other
    directed = sparse.csr_array((pairs.data[apart], (one[apart], other[apart])), shape=(n, n))
    return directed.maximum(directed.T).tocsr()
