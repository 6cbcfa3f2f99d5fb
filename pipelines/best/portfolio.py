"""Settings that have won somewhere, and the facts of a log under which they can win again.

Where each has won, and by how much, is in docs/experiments.md and benchmarks/results. What `train` would
learn stands first, so that no search ends below it for want of time; then cheap ones;
last, for the time that is left, the family of word2vec, which has won nowhere yet but may on your log.
What is counted and not learned into vectors (`item_knn`, `cooccurrence`, `ease`) is tried as well: it cannot
be served by an index, and what cannot beat it is not worth one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from recsys.models.registry import model_class, space_of
from recsys.models.search import OF_ORDER, Choices, Space, Span
from recsys.pipelines.best.facts import Facts

_EASE_ITEMS = 12_000  # items up to which a dense matrix of all pairs is affordable
_DENSE, _SPARSE = 60.0, 25.0  # events an item: above the first tastes are well known, below the second hardly
_MANY_ITEMS = 10_000  # above it width pays, alone and side by side
_ALIKE = 1e9  # a half-life by which all events weigh the same
_DIMS = (32, 64, 128, 256)
_EPOCHS = Span(4, 96, log=True)
_WIDER = {"als": (64, 128, 256, 512), "spectral": (64, 128, 256, 512), "variational": (33, 65, 129, 257)}


class Entry(NamedTuple):
    """A model to try. model: its settings, `name` among them. label: what tables call it. why: where it comes
    from."""

    label: str
    model: Mapping[str, Any]
    why: str

    @property
    def family(self) -> str:
        return str(self.model["name"])


def portfolio(facts: Facts, max_dim: int | None = None) -> list[Entry]:
    """The models to try on such a log, the usual one and cheap ones first; none wider than `max_dim`."""
    usual = Entry("als", {"name": "als"}, "what `train` learns where nothing is said")
    entries = [
        usual,
        *_list_counting(facts),
        *_list_factorizing(facts),
        *_list_learning(facts),
        *_list_of_words(facts),
    ]
    return [entry for one in entries if (entry := _fitting(one, facts, max_dim)) is not None]


def space_for(family: str, facts: Facts, max_dim: int | None = None) -> Space:
    """What of a family is worth searching on such a log: its declared space without settings of time where
    there are no times, the width, where more is better and dearer, and the epochs of those that do not simply
    converge."""
    space = {name: one for name, one in space_of(family).items() if facts.ordered or name not in OF_ORDER}
    declared = model_class(family).Settings.model_fields
    if "dim" in declared:
        dims = _WIDER.get(family, _DIMS)
        space["dim"] = Choices(tuple(dim for dim in dims if max_dim is None or dim <= max_dim) or (max_dim,))
    if "epochs" in declared and family != "als":
        space["epochs"] = _EPOCHS
    return space


def _fitting(entry: Entry, facts: Facts, max_dim: int | None) -> Entry | None:
    """The entry as it can matter here: at most so wide, and without settings of time where there are no
    times."""
    model = {name: value for name, value in entry.model.items() if facts.ordered or name not in OF_ORDER}
    if not facts.ordered and entry.family == "item_knn":
        model["half_life"] = _ALIKE  # its default weighs what is later in the file more
    usual = {name: field.default for name, field in model_class(entry.family).Settings.model_fields.items()}
    if max_dim is not None and (usual | model).get("dim", 0) > max_dim:
        heads = (usual | model).get("heads", 1)
        if max_dim // heads < 1:
            return None
        model["dim"] = max_dim // heads * heads
    return entry._replace(model=model)


def _list_counting(facts: Facts) -> Iterator[Entry]:
    yield Entry("popularity", {"name": "popularity"}, "the floor")
    if facts.times:
        for days in (7.0, 90.0):
            yield Entry(f"popularity, {days:g} days", {"name": "popularity", "days": days}, "fashions pass")
    if facts.returns:
        yield Entry("own history", {"name": "own_history"}, "people come back to what they had")
    yield Entry("item-kNN", {"name": "item_knn"}, "neighbours by who had both")
    if facts.ordered:
        recent = {"name": "item_knn", "amplification": 2.0, "shrinkage": 0.1, "half_life": 5.0}
        yield Entry("item-kNN, recent", recent, "won on ml-100k among neighbours")
        directed = {
            "name": "cooccurrence",
            "back": 0.25,
            "from_exponent": 0.5,
            "to_exponent": 0.3,
            "half_life": 2.5,
        }
        yield Entry("co-occurrence, what follows", directed, "above published nets on two sets of sequences")
    if facts.items <= _EASE_ITEMS:
        yield Entry("EASE", {"name": "ease", "regularization": 500.0}, "the strongest matrix of items")


def _list_factorizing(facts: Facts) -> Iterator[Entry]:
    yield Entry(
        "spectral", {"name": "spectral", "dim": 256}, "seconds, and close to what is learned on gowalla"
    )
    many = facts.items > _MANY_ITEMS
    strong = {"name": "spectral", "dim": 64, "half_life": 4.0}
    yield Entry("spectral, narrow", strong, "won on ml-100k among factorizations without learning")
    for weight, ridge, dim, life in (
        *([(0.01, 0.003, 512, None)] if many else []),  # a part of the best mixture on gowalla
        (0.01, 0.01, 64, None),  # gowalla
        (0.1, 0.003, 128, None),  # ml-1m-seq
        (0.1, 0.01, 128, 50.0),  # poi-gowalla
        (1.0, 0.003, 128, None),  # ml-1m-ncf
        (3.0, 0.003, 32, 4.0),  # ml-100k
        (0.02, 0.03, 32, None),  # the planted world
    ):
        model = {"name": "als", "dim": dim, "unobserved_weight": weight, "regularization": ridge}
        if life is None or facts.ordered:
            said = f"als {dim}, unobserved {weight:g}" + (f", half-life {life:g}" if life else "")
            yield Entry(
                said, model | ({} if life is None else {"half_life": life}), "has won at such a weight"
            )
    if facts.ordered:
        pairs = {
            "name": "cooccurrence_svd",
            "dim": 256,
            "back": 0.25,
            "from_exponent": 0.5,
            "to_exponent": 0.3,
        }
        yield Entry(
            "co-occurrence, 256", pairs | {"half_life": 2.5}, "a part of the best mixtures of sequences"
        )
    if many:
        wide = {"name": "spectral", "dim": 1024, "exponent": 0.6, "filter": 0.0}
        yield Entry("spectral, wide", wide, "a part of the best mixture on gowalla")


def _list_learning(facts: Facts) -> Iterator[Entry]:
    tastes = {"name": "variational", "dim": 65, "regularization": 8.0, "user_exponent": 0.05}
    yield Entry("variational", tastes | {"propagation": 0.04}, "the best single model of dim 64 on gowalla")
    narrow = {"name": "variational", "dim": 33}
    yield Entry("variational, narrow", narrow | {"half_life": 4.0}, "the best single model on ml-100k")
    if facts.times:
        trend = {"name": "variational", "dim": 65, "trend_days": 30.0}
        yield Entry("variational, trend", trend, "the best single model on poi-gowalla and the planted world")
    width = 128 if facts.items > _MANY_ITEMS else 64
    propagated = {"name": "softmax", "dim": width, "epochs": 24, "temperature": 0.1, "propagation": 0.35}
    yield Entry("softmax, propagated", propagated, "won on gowalla")
    plain = {"name": "softmax", "dim": 128, "temperature": 0.15, "propagation": 0.0}
    yield Entry("softmax", plain, "won on ml-1m-ncf, beside als")
    if facts.ordered:
        recent = {"name": "softmax", "dim": 128, "temperature": 0.15, "propagation": 0.5, "half_life": 20.0}
        yield Entry("softmax, recent", recent | {"fold_in_ridge": 30.0}, "won on poi-gowalla, beside als")
    towers = {"name": "two_tower", "dim": 64, "epochs": 8, "batch_size": 8192, "learning_rate": 0.02}
    ids = towers | {"history": "others", "propagation": 0.35}
    yield Entry("two towers, ids", ids, "won on gowalla")
    described = _list_described(facts)
    people = {"user_features": list(facts.user_features)} if facts.user_features else {}
    if described or people:
        yield Entry("two towers, features", ids | described | people, "what is known of items and people")
    if facts.ordered:
        yield from _sequences(facts, described)


def _list_described(facts: Facts) -> dict[str, Any]:
    return {"item_features": list(facts.item_features)} if facts.item_features else {}


def _sequences(facts: Facts, described: dict[str, Any]) -> Iterator[Entry]:
    """The sequence models, for events in order. Where events repeat and repeats are not asked for, they
    predict new items instead of the next event."""
    asked: dict[str, Any] = {} if facts.returns or facts.repeats < 0.05 else {"repeats": False, "ahead": 10}
    # A sum of recent events beside the net, a high rate and drawn negatives: as good as ten to twenty epochs
    # by all items, in less time.
    sparse: dict[str, Any] = {
        "name": "sequence",
        "dim": 128,
        "heads": 4,
        "epochs": 8,
        "batch_size": 512,
        "learning_rate": 0.002,
        "longest_history": 50,
        "event_dropout": 0.2,
        "initial": "spectral",
        "half_life": 2.0,
        "negatives": 2048,
        "dropout": 0.5,
        "averaged": 0.3,
    }
    dense: dict[str, Any] = {
        "name": "sequence",
        "epochs": 30,
        "batch_size": 4096,
        "dropout": 0.2,
        "averaged": 0.2,
    }
    if facts.per_item < _DENSE:
        if described:
            yield Entry(
                "sequence, features", sparse | asked | described, "the best model on two sets of shops"
            )
        yield Entry(
            "sequence, few events an item", sparse | asked, "what order says by itself, where items have few"
        )
    if facts.per_item > _SPARSE:
        yield Entry("sequence", dense | asked, "won on ml-1m-seq")


def _list_of_words(facts: Facts) -> Iterator[Entry]:
    """What grew from word2vec: windows of histories, walks over the graph, averages over it."""
    recent = {"dim": 64, "half_life": 2.0}
    if facts.ordered:
        words = "above co-occurrence of the same width on ml-1m-seq"
        yield Entry("item2vec", {"name": "item2vec"} | recent, words)
        yield Entry("GloVe", {"name": "glove"} | recent, "level with item2vec, in less time on long logs")
        if values := [one for one in facts.item_features if one["kind"] not in ("number", "vector")]:
            # Items share no numbers: by latitude and longitude poi-gowalla has a third of item2vec's figure.
            parts = {"name": "fasttext", "id_dropout": 0.5, "item_features": values} | recent
            yield Entry("FastText", parts, "above content-kNN on items without events, in a minute")
    walks = {"name": "node2vec", "dim": 64, "negative_exponent": 0.25, "half_life": 4.0, "user_rows": False}
    yield Entry("node2vec", walks, "what few steps of the graph join, as friends do")
    averaged = {"name": "lightgcn", "dim": 64}
    yield Entry("LightGCN", averaged, "beside softmax of the same width on gowalla")
    if facts.times:
        watched = {"name": "youtube_dnn", "dim": 32, "initial": "spectral"}
        yield Entry("YouTube's network", watched, "history alone, and the age of each example")


def plan(facts: Facts, max_dim: int | None, minutes: float) -> list[str]:
    """Sentences on what a search of so many minutes would do on such a log."""
    entries = portfolio(facts, max_dim)
    lines = [*facts.describe(), f"{len(entries)} models to begin with:"]
    lines += [f"  {entry.label}: {entry.why}" for entry in entries]
    lines.append(
        "then steps from the best settings of the three best families, and the best spaces side by side."
    )
    if max_dim is not None:
        lines.append(f"No vectors wider than {max_dim}.")
    widest = max(int(entry.model.get("dim", 0)) for entry in entries)
    needed = 16 * widest * (facts.users + facts.items) + 64 * facts.events
    lines.append(
        f"{minutes:g} minutes in all, and about {needed / 1e6:,.0f} MB of memory beside the program."
    )
    return lines
