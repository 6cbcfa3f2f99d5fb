"""The learners by name. A name leads to "module:Class", so that listing them imports none."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from recsys.errors import SettingError
from recsys.models.base import Model

MODELS: dict[str, str] = {
    "als": "recsys.models.als:ALS",
    "bpr": "recsys.models.bpr:BPR",
    "ease": "recsys.models.ease:EASE",
    "item_knn": "recsys.models.item_knn:ItemKNN",
    "mixture": "recsys.models.mixture:Mixture",
    "narrowed": "recsys.models.narrowed:Narrowed",
    "own_history": "recsys.models.own_history:OwnHistory",
    "popularity": "recsys.models.popularity:Popularity",
    "softmax": "recsys.models.softmax:SoftmaxMF",
    "spectral": "recsys.models.spectral:Spectral",
    "two_tower": "recsys.models.two_tower:TwoTower",
    "variational": "recsys.models.variational:VariationalMF",
}


def model_class(name: str) -> Any:
    """The class behind a registered name, or behind any "module:Class" of the user's own."""
    if name not in MODELS and ":" not in name:
        near = get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known ones are {', '.join(sorted(MODELS))}."
        raise SettingError(f"model {name!r} is unknown; {hint}")
    module, _, attribute = MODELS.get(name, name).partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"model {name!r} cannot be loaded from {module}:{attribute}: {error}.") from None


def make_model(name: str, settings: Mapping[str, Any], *, where: str = "model settings") -> Model:
    """A learner with checked settings."""
    cls = model_class(name)
    model: Model = cls(cls.Settings.build(settings, where=where))
    return model
