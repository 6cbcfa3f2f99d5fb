"""The model of a run as MLflow loads it: `mlflow.pyfunc.load_model("runs:/RUN/model")` or
`"models:/NAME@champion"`.

The folder `model` of a run's artefacts holds `MLmodel`, which names this file as the loader, and
`bundle.json`, the address of the bundle. Registering the run adds the bundle itself, in `model/bundle`. No
file holds a pickle.
"""

import json
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys import __version__
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.errors import RequestError
from recsys.pipelines.tracking.address import BUNDLE, MODEL, find_bundle, missing

if TYPE_CHECKING:
    import pandas as pd

_ADDRESS = "bundle.json"
_TEXT: dict[str, Any]
_NUMBER: dict[str, Any]
_TEXT, _NUMBER = {"type": "string"}, {"type": "any"}  # MLflow allows no gaps among integers
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_EVENT = {
    "item_id": _TEXT,
    "timestamp": {"type": "long", "required": False},
    "event": _TEXT | {"required": False},
}
_ITEM = {
    "item_id": _TEXT,
    "score": {"type": "double"},
    **{name: _TEXT | {"required": False} for name in ("title", "reason", "reason_code", "because", "like")},
}
_QUESTION: dict[str, dict[str, Any]] = {  # a column for each field of a question; all may be left out
    "user_id": _TEXT,
    "history": {"type": "array", "items": {"type": "object", "properties": _EVENT}},
    "k": _NUMBER,
    "domain": _TEXT,
    "deny": _TEXTS,
    "allow": _TEXTS,
    "now": _NUMBER,
    "features": {"type": "map", "values": {"type": "any"}},
    "reasons": _NUMBER,
}
_REPLY: dict[str, dict[str, Any]] = {
    "source": _TEXT,
    "why": _TEXT,
    "items": {"type": "array", "items": {"type": "object", "properties": _ITEM}},
    "ignored": _TEXTS,
    "ignored_features": _TEXTS,
}


class LoggedModel:
    """Answers tables of questions from a bundle, row by row as `respond` does."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: "pd.DataFrame") -> "pd.DataFrame":
        """One reply for each row, under the same index: source, why, items (a list of dicts, best first),
        ignored, ignored_features.

        model_input: columns are the fields of a `Question` (user_id, history as a list of dicts, k, ...); a
        missing column or value is a field left out. Raises RequestError on an unknown column, and as
        `respond`.
        """
        import pandas as pd

        if unknown := set(model_input.columns) - set(_QUESTION):
            raise RequestError(
                f"column {min(map(str, unknown))!r} is unknown; columns are {', '.join(_QUESTION)}."
            )
        replies = [respond(self.bundle, _question(row)) for row in model_input.to_dict("records")]
        rows = [reply.__dict__ | {"items": [item._asdict() for item in reply.items]} for reply in replies]
        return pd.DataFrame(rows, index=model_input.index, columns=list(_REPLY))


def _load_pyfunc(path: str) -> LoggedModel:
    """The model of a folder that `write_model` wrote: from the bundle in it, else from where its run wrote
    it. MLflow calls this. Raises TrackingError where the bundle is at neither place, BundleError where it is
    damaged."""
    folder = Path(path)
    if (folder / BUNDLE).is_dir():
        return LoggedModel(load(folder / BUNDLE))
    tags = json.loads((folder / _ADDRESS).read_text(encoding="utf-8"))
    if (place := find_bundle(tags)) is None:
        raise missing(tags["run_id"], BUNDLE, tags, str(folder))
    return LoggedModel(load(place))


def write_model(files: Path, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Writes the folder `model` below `files`, and returns the tag by which MLflow shows it as a model.

    tags: the address of the bundle (`address_of`) and its `bundle_id`.
    """
    folder = files / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    flavor = {"loader_module": __name__, "python_version": platform.python_version(), "env": {}}
    about = {
        "artifact_path": MODEL,
        "run_id": run_id,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "flavors": {"python_function": flavor},
    }
    inputs = [{"name": name, "required": False, **kind} for name, kind in _QUESTION.items()]
    outputs = [{"name": name, "required": True, **kind} for name, kind in _REPLY.items()]
    signature = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None}
    # YAML
    (folder / "MLmodel").write_text(json.dumps(about | {"signature": signature}, indent=1), encoding="utf-8")
    (folder / _ADDRESS).write_text(json.dumps({**tags, "run_id": run_id}, indent=1), encoding="utf-8")
    (folder / "requirements.txt").write_text(f"recsys-embeddings[train]=={__version__}\n", encoding="utf-8")
    return {"mlflow.log-model.history": json.dumps([about])}


def _question(row: Mapping[Any, Any]) -> Question:
    """The question of a row of a table."""
    fields = {name: _plain(value) for name, value in row.items() if _is_given(value)}
    events = fields.pop("history", [])
    # floats beside a gap
    fields |= {name: int(fields[name]) for name in ("k", "now", "reasons") if name in fields}
    return Question(**fields, history=[_event(one) for one in events])


def _event(fields: Mapping[str, Any]) -> Event:
    given = {name: value for name, value in fields.items() if _is_given(value)}
    if "timestamp" in given:
        given["timestamp"] = int(given["timestamp"])
    return Event(**given)


def _plain(value: Any) -> Any:
    """numpy's arrays and numbers as Python's."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _is_given(value: Any) -> bool:
    """False for what a table holds where nothing stands: None, NaN, NA."""
    empty = value is None or type(value).__name__ in ("NAType", "NaTType")
    return not empty and not (isinstance(value, float) and math.isnan(value))
