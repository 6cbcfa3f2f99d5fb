"""Judges a finished bundle on a data set, through the recommender that the service builds from it."""

from typing import Any

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.data.read.load import locate_data
from recsys.errors import DataError
from recsys.evaluation.evaluate import Report
from recsys.evaluation.foreign import BundleInDataIds
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.tables import segments_table
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import judge
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.text import text_table, utc_text


def settings_of(bundle: Bundle) -> dict[str, Any]:
    """The settings of the run that made a bundle, as it states them; none where it was written without a
    run."""
    settings: dict[str, Any] = bundle.manifest["lineage"].get("settings", {})
    return settings


def evaluate_bundle(run: Run, bundle: Bundle) -> tuple[str, Report]:
    """A title and the report of a bundle on the question of a run.

    Raises DataError where the bundle was trained on the answers, unless the settings allow leaks.
    """
    refuse_known_answers(run, bundle)
    served = BundleInDataIds(bundle, run.holdout.train)
    warn_of_strangers(served, run.steps)
    warn_of_other_data(run, bundle)
    with run.steps.step("evaluate") as progress:
        report = judge(run, served, facts_of(run.holdout.train), progress)
    return f"bundle {bundle.bundle_id} on {run.title}", report


def warn_of_strangers(served: BundleInDataIds, steps: Steps) -> None:
    """Warns where a bundle and the data share no user or not all items, with one id of each side."""
    bundle, data = served.bundle, served.data
    for who, index, ids, own in (
        ("user", served.person, data.user_ids, bundle.user_ids),
        ("item", served.item, data.item_ids, bundle.item_ids),
    ):
        unknown = np.flatnonzero(index < 0)
        # new users are no fault
        if not len(unknown) or not len(own) or (who == "user" and len(unknown) < len(index)):
            continue
        how_many = "none" if len(unknown) == len(index) else f"{len(index) - len(unknown):,}"
        steps.warn(
            f"{how_many} of the {len(index):,} {who}s of the data {'is' if how_many == 'none' else 'are'} "
            f"in bundle {bundle.bundle_id} ({ids[int(unknown[0])]!r} in the data, {own[0]!r} in the "
            f"bundle). Is it the bundle of these data, and are ids written alike?"
        )


def warn_of_other_data(run: Run, bundle: Bundle) -> None:
    """Says where the data of the bundle's own run, read in the same way, are no longer what the bundle was
    made of."""
    lineage, own, asked = (
        bundle.manifest["lineage"],
        settings_of(bundle),
        run.settings.model_dump(mode="json"),
    )
    if "data_digest" not in lineage or lineage["data_digest"] == run.data.digest or "data" not in own:
        return
    own = {**own, "data": locate_data(own["data"])}
    if any(
        own.get(name) != asked[name]
        for name in ("data", "columns", "items", "users", "since", "prepare", "world")
    ):
        return
    learned, unlearned = lineage["train"]["events"], lineage.get("unlearned")
    before = (
        f"{learned:,} of them learned" if unlearned is None else f"{learned + unlearned['events']:,} events"
    )
    run.steps.warn(
        f"{run.data.name} is not what bundle {bundle.bundle_id} was made of ({before}; "
        f"{len(run.data.interactions):,} events now): the figures are not those of its run."
    )


def refuse_known_answers(run: Run, bundle: Bundle) -> None:
    """Raises DataError where what is asked may have been trained on: by time, else by the settings of the
    split.

    Settings that allow leaks refuse nothing.
    """
    if run.settings.split.allow_leaks:
        return
    lineage, holdout = bundle.manifest["lineage"], run.holdout
    last = lineage.get("train", {}).get("last")
    if lineage.get("refit") and (holdout.now is None or last is None or last >= holdout.now):
        raise DataError(
            f"bundle {bundle.bundle_id} learned again from all events of its run (refit=true), the judged "
            f"ones among them: it has seen the answers. Its run has the figures of the same model without "
            f"them. Judge a bundle of refit=false, or this one on events after its last "
            f"(split.kind=global_time), or set split.allow_leaks=true to see by how much it flatters."
        )
    advice = (
        "Judge it on the split of its own run, or set split.allow_leaks=true to see by how much it flatters."
    )
    if holdout.now is not None and last is not None:
        if last >= holdout.now:
            raise DataError(
                f"bundle {bundle.bundle_id} was trained on events up to {utc_text(last)}, and is asked "
                f"about what followed {utc_text(holdout.now)}: it has seen the answers. {advice}"
            )
        return
    own, asked = settings_of(bundle), run.settings.model_dump(mode="json")
    if not own:
        raise DataError(
            f"bundle {bundle.bundle_id} was written without a run: it does not say how its data were "
            f"split, nor can a split that is not by time tell which answers it has seen. Judge it on a "
            f"split by time, or set split.allow_leaks=true."
        )
    # bundles of old say a path as it was typed, and fewer settings
    stated = {**own, "data": locate_data(own["data"])}
    own = RunSettings.build(stated, where=f"bundle {bundle.bundle_id}").model_dump(mode="json")
    for name in ("data", "prepare", "split", "judge", "seed"):
        if own[name] != asked[name]:
            raise DataError(
                f"bundle {bundle.bundle_id} was judged with {name} = {own[name]!r}, not {asked[name]!r}, "
                f"and a split that is not by time cannot tell which answers it has seen. {advice}"
            )


def report_table(title: str, report: Report) -> str:
    """Each metric with its interval, those of the whole system without, and the segments."""
    rows = []
    for metric in report.values:
        interval = report.interval(metric)
        rows.append([metric, f"{interval.mean:.4f}", f"{interval.low:.4f}", f"{interval.high:.4f}"])
    rows += [[metric, f"{value:.4f}", "-", "-"] for metric, value in report.system.items()]
    sources = ", ".join(f"{count:,} {name}" for name, count in report.sources().items())
    table = text_table(["metric", "mean", "low", "high"], rows)
    return f"{title}. Answered from: {sources}.\n\n{table}\n\n{segments_table({'bundle': report})}"
