"""Checks the data of a run by the settings of the run: what `recsys train` with the same words would
refuse."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from recsys.data.check.check import Checked, check
from recsys.data.check.findings import Finding, refusal
from recsys.data.dataset import Dataset
from recsys.data.split.split import split
from recsys.encoders.cells import WrongValueError
from recsys.encoders.features import Features, FeatureSettings
from recsys.errors import DataError
from recsys.pipelines.run.question import read_data, refuse_columns
from recsys.pipelines.run.settings import RunSettings
from recsys.progress import silent


def check_for(settings: RunSettings, *, items: str | None = None, users: str | None = None) -> Checked:
    """What is wrong with the data of a run: row by row, then as its rules, its split and its features find
    it.

    items, users: tables in place of those of the folder, for the rules of rows.
    """
    checked = check(
        settings.data,
        settings.columns,
        items=items or settings.items,
        users=users or settings.users,
        reading=settings.reading,
        split=False,
    )
    return (
        checked
        if checked.errors
        else replace(checked, findings=[*_find_refused(settings), *checked.findings])
    )


def _find_refused(settings: RunSettings) -> list[Finding]:
    """The first error that a run with these settings would raise on readable data, as a finding."""
    try:
        _, data, _ = read_data(settings, silent)
        refuse_columns(data, settings)
        parts = split(data, settings.split, seed=settings.seed)
        train = getattr(parts, settings.judge).train
        for who, columns in _features(settings.model):
            _read_features(who, columns, train)
    except DataError as error:
        return [refusal(error)]
    return []


def _features(model: Mapping[str, Any]) -> Iterator[tuple[str, list[FeatureSettings]]]:
    """The features of items and of users that a model declares, those of its parts included."""
    for name, value in model.items():
        if name in ("item_features", "user_features"):
            yield name.split("_")[0], [FeatureSettings.build(one, where=f"model.{name}") for one in value]
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, Mapping) and "name" in part:
                yield from _features(part)


def _read_features(who: str, columns: list[FeatureSettings], train: Dataset) -> None:
    """Raises DataError where a column does not hold what it is declared to hold."""
    table = train.described_items if who == "item" else train.described_users
    try:
        Features.fit(columns, table, who).encode(table, len(table))
    except WrongValueError as error:
        raise error.at(train.place(who, error.row)) from None
