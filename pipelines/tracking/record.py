"""The record of a run, on disk beside its bundle before any store is asked: what `recsys track` can log
later.

`<bundle>.record/` holds `record.json` (name, settings, tags, figures, curves) and `files/`, the artefacts:
plots and table, and in `record/` the settings, the paired tests, and `values.npz` with the judged metrics of
every user.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from recsys.bundle.manifest import read_manifest
from recsys.data.split.holdout import Holdout
from recsys.evaluation.evaluate import Report
from recsys.pipelines.tracking import client
from recsys.pipelines.tracking.address import RECORD, address_of, bundle_of
from recsys.pipelines.tracking.lineage import flat
from recsys.pipelines.tracking.logged_model import write_model
from recsys.pipelines.tracking.store import store

VALUES = "values.npz"
_PLAIN, _FILES, _SUFFIX = "record.json", "files", ".record"


class Record(NamedTuple):
    """What a run found. settings: nested. curves: task -> figures of each step. texts: file name ->
    content."""

    name: str
    experiment: str
    settings: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    texts: Mapping[str, str]


def folder_of(bundle: Path) -> Path:
    """Where the record of a bundle lies."""
    return bundle.with_name(bundle.name + _SUFFIX)


def write(bundle: Path, record: Record, report: Report, holdout: Holdout) -> Path:
    """Writes the record, whole or not at all, and returns the folder of its artefacts, to which plots may be
    added."""
    aside, folder = bundle.with_name(bundle.name + _SUFFIX + ".partial"), folder_of(bundle)
    files = aside / _FILES
    files.mkdir(parents=True)
    (files / RECORD).mkdir()
    for name, text in record.texts.items():
        (files / name if name.endswith(".md") else files / RECORD / name).write_text(text, encoding="utf-8")
    values = files / RECORD / VALUES
    arrays: dict[str, Any] = {"user": holdout.user, "warm": holdout.warm, **report.values}
    np.savez_compressed(values, **arrays)
    plain = {key: value for key, value in record._asdict().items() if key != "texts"}
    (aside / _PLAIN).write_text(json.dumps(plain), encoding="utf-8")
    os.replace(aside, folder)
    return folder / _FILES


def track(bundle: Path, run_id: str | None = None) -> tuple[str, Path]:
    """Logs a bundle with its record; returns the run's id and where the bundle lies now.

    run_id: a run opened for it; else the one that the bundle names, where the store knows it, else a new one.
    The bundle stays, and its record goes once the store has it. Without a record (a bundle from elsewhere)
    the run has its settings and lineage, and no figures.
    """
    lineage = read_manifest(bundle)["lineage"]
    kept = folder_of(bundle) / _PLAIN
    known = (
        json.loads(kept.read_text(encoding="utf-8"))
        if kept.is_file()
        else _from_lineage(bundle.name, lineage)
    )
    named = run_id or lineage.get("run_id")
    if named is None or (run_id is None and not client.has_run(named)):
        named = client.start_run(known["experiment"], known["name"])
    arguments = {key: known[key] for key in ("settings", "tags", "metrics", "curves")}
    arguments["tags"] |= address_of(bundle)
    with TemporaryDirectory() as aside:
        files = kept.parent / _FILES if kept.is_file() else Path(aside)
        arguments["tags"] |= write_model(files, named, address_of(bundle) | {"bundle_id": bundle.name})
        client.finish_run(named, **arguments, files=files)
    logged = bundle_of(named)
    if bundle.parent.resolve() == (store() / "trained").resolve():
        shutil.rmtree(kept.parent, ignore_errors=True)
    return named, logged


def track_alone(place: Path, run_id: str) -> None:
    """Logs the record that lies beside `place`, where there is no bundle: that of a model without vectors."""
    folder = folder_of(place)
    known = json.loads((folder / _PLAIN).read_text(encoding="utf-8"))
    arguments = {key: known[key] for key in ("settings", "tags", "metrics", "curves")}
    client.finish_run(run_id, **arguments, files=folder / _FILES)
    shutil.rmtree(folder)


def track_report(
    experiment: str,
    name: str,
    what: str,
    *,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    metrics: Mapping[str, float],
    texts: Mapping[str, str],
    pictures: Mapping[str, Any],
) -> str:
    """Logs what was measured without a bundle as a run, and returns its id. what: "an order report". texts:
    file name -> content. pictures: file name -> a figure of matplotlib."""
    run_id = client.start_run(experiment, name)
    without = f"run {run_id} is {what}, without a bundle. See `recsys runs`."
    with TemporaryDirectory() as folder:
        files = Path(folder)
        for file, text in texts.items():
            (files / file).write_text(text, "utf-8")
        for file, picture in pictures.items():
            picture.savefig(files / file, dpi=130)
        client.finish_run(
            run_id,
            settings=settings,
            tags={**tags, client.REPORT: what, client.WITHOUT_BUNDLE: without},
            metrics=metrics,
            curves={},
            files=files,
        )
    return run_id


def _from_lineage(bundle_id: str, lineage: Mapping[str, Any]) -> dict[str, Any]:
    settings = lineage.get("settings", {})
    return {
        "name": f"{settings.get('model', {}).get('name', 'bundle')} on {lineage.get('data', 'unknown data')}",
        "experiment": settings.get("experiment", "recsys"),
        "settings": settings,
        "tags": tags_of(lineage) | {"bundle_id": bundle_id},
        "metrics": {},
        "curves": {},
    }


def tags_of(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage flat, without the settings, which are parameters, and without what is unknown."""
    named = flat(lineage)
    return {
        key: value for key, value in named.items() if not key.startswith("settings.") and value is not None
    }


def holdout_digest(holdout: Holdout, data_digest: str) -> str:
    """Names a question: the data, the users asked, their histories and their targets. Equal ones may be
    compared."""
    digest = sha256(data_digest.encode())
    for array in (holdout.user, *holdout.history.items, *holdout.targets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
