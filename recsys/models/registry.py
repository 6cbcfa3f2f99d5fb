"""The learners by name. A name leads to "module:Class", so that listing them imports none."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from recsys.errors import SettingError
from recsys.models.base import Model
from recsys.models.search import Space
from recsys.plugins import load_attribute
from recsys.text import did_you_mean

MODELS: dict[str, str] = {
    "als": "recsys.models.als.als:ALS",
    "bpr": "recsys.models.factors.bpr:BPR",
    "cooccurrence": "recsys.models.neighbours.cooccurrence:Cooccurrence",
    "cooccurrence_svd": "recsys.models.neighbours.cooccurrence:CooccurrenceSVD",
    "ease": "recsys.models.neighbours.ease:EASE",
    "fasttext": "recsys.models.neighbours.fasttext:FastText",
    "glove": "recsys.models.neighbours.glove:GloVe",
    "item2vec": "recsys.models.neighbours.item2vec:Item2Vec",
    "item_knn": "recsys.models.neighbours.item_knn:ItemKNN",
    "lightgcn": "recsys.models.graph.lightgcn:LightGCN",
    "mixture": "recsys.models.mixture:Mixture",
    "narrowed": "recsys.models.narrowed:Narrowed",
    "node2vec": "recsys.models.graph.node2vec:Node2Vec",
    "own_history": "recsys.models.own_history:OwnHistory",
    "popularity": "recsys.models.popularity:Popularity",
    "sequence": "recsys.models.towers.sequence:Sequence",
    "softmax": "recsys.models.factors.softmax:SoftmaxMF",
    "spectral": "recsys.models.factors.spectral:Spectral",
    "two_tower": "recsys.models.towers.two_tower:TwoTower",
    "variational": "recsys.models.factors.variational:VariationalMF",
    "youtube_dnn": "recsys.models.towers.youtube_dnn:YouTubeDNN",
}


def model_class(name: str) -> Any:
    """The class behind a registered name, or behind any "module:Class" of the user's own."""
    if name in MODELS:
        module, _, attribute = MODELS[name].partition(":")
        return getattr(import_module(module), attribute)
    if ":" in name:
        return load_attribute(name, "model")
    raise SettingError(f"model {name!r} is unknown; {did_you_mean(name, MODELS)}")


def space_of(name: str) -> Space:
    """What a learner says is worth searching; empty where it says nothing."""
    space: Space = getattr(model_class(name), "search", {})
    return space


def make_model(
    name: str, settings: Mapping[str, Any], *, where: str = "model settings", path: str = ""
) -> Model:
    """A learner with checked settings; where, path: as in `Settings.build`."""
    cls = model_class(name)
    if "disliked_weight" in settings and not getattr(cls, "learns_dislikes", False):
        able = ", ".join(one for one in MODELS if getattr(model_class(one), "learns_dislikes", False))
        raise SettingError(
            f'{name} cannot learn from events that say "not this" (disliked_weight in {where}); its '
            "answers leave them "
            f"out all the same. Leave the setting out, or take a model that can: {able}."
        )
    model: Model = cls(cls.Settings.build(settings, where=where, path=path))
    return model
