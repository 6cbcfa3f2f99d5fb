"""A/B tests in MLflow: an experiment for each, a run for the whole with its plan as registered, a run for
each arm.

What is known of a test on another machine is what stands here: plan and digest, verdict and report, figures
by day, and the line of each arm in the ledger.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from recsys.errors import TrackingError
from recsys.history import DAY_S
from recsys.pipelines.tracking import address, client
from recsys.pipelines.tracking.client import TESTS
from recsys.pipelines.tracking.lineage import LoggedRun, flat
from recsys.pipelines.tracking.registry import Model
from recsys.pipelines.tracking.store import tracking_uri
from recsys.text import did_you_mean, utc_text

PLAN, CHANGES, REPORT, PAGE = "plan.json", "changes.json", "report.json", "report.html"
WHOLE, ARM = "test", "arm"  # the tag `role` of a run
_PARENT, _NOTE = "mlflow.parentRunId", "mlflow.note.content"  # the latter: what MLflow shows as a description
_LONGEST = 2_000  # characters of a tag


class Point(NamedTuple):
    """A figure of a day, as `client.add_to_run` takes it. ms: when it was; step: which day of the test, from
    1."""

    key: str
    value: float
    ms: int
    step: int


@dataclass(frozen=True)
class Test:
    """A test as the store has it. late: whether it was registered by its first analysis. arms: arm -> its
    run."""

    name: str
    run: LoggedRun
    arms: Mapping[str, LoggedRun]

    @property
    def word(self) -> str | None:
        """The verdict; None before the first analysis."""
        return self.run.tags.get("verdict")

    @property
    def digest(self) -> str:
        return self.run.tags["plan_digest"]

    def registration(self) -> dict[str, Any]:
        """What the report says of it: when, which plan, and what was changed since."""
        tags = self.run.tags
        return {
            "registered": tags["registered"],
            "digest": self.digest,
            "hypothesis": tags.get("hypothesis", ""),
            "late": tags["late"] == "True",
            "changes": self.changes(),
        }

    def changes(self) -> list[dict[str, str]]:
        """Each difference of a later plan from the registered one: when it was noticed, what, before and
        after."""
        if "changed" not in self.run.tags:
            return []
        changes: list[dict[str, str]] = json.loads(
            address.artifact_of(self.run.run_id, CHANGES).read_text("utf-8")
        )
        return changes

    def plan(self) -> dict[str, Any]:
        """The plan as it was registered."""
        plan: dict[str, Any] = json.loads(address.artifact_of(self.run.run_id, PLAN).read_text("utf-8"))
        return plan


def tests() -> list[Test]:
    """All tests of the store, the newest first."""
    every = [_test(name, runs) for name, runs in client.runs_below(TESTS).items()]
    return sorted((one for one in every if one is not None), key=lambda one: (-one.run.started, one.name))


def find_test(name: str) -> Test | None:
    """The test of this name in the store, or None."""
    return _test(TESTS + name, client.runs_below(TESTS + name).get(TESTS + name, ()))


def _test(experiment: str, runs: Sequence[LoggedRun]) -> Test | None:
    whole = next((one for one in runs if one.tags.get("role") == WHOLE), None)
    if whole is None:
        return None
    arms = {one.tags["arm"]: one for one in runs if one.tags.get(_PARENT) == whole.run_id}
    return Test(experiment.removeprefix(TESTS), whole, arms)


def known_test(name: str) -> Test:
    """The test of this name in the store. Raises TrackingError, with the nearest name, where there is
    none."""
    if (test := find_test(name)) is None:
        names = [one.name for one in tests()]
        raise TrackingError(f"test {name!r} is not in {tracking_uri()}; {did_you_mean(name, names)}")
    return test


def register(
    name: str, plan: Mapping[str, Any], digest: str, hypothesis: str = "", *, late: bool = False
) -> Test:
    """Freezes a plan: its settings as parameters, itself as an artefact, its digest as a tag, and the moment.

    plan: as JSON. late: by the first analysis and not before it. Raises TrackingError where a test of this
    name was registered with another plan.
    """
    if (test := find_test(name)) is not None:
        if test.digest == digest:
            return test
        raise TrackingError(
            f"test {name!r} was registered at {test.run.tags['registered']} with another plan. Analyse it "
            "with the new one, and the report names what was changed; or register the new plan under "
            "another name."
        )
    tags = {"role": WHOLE, "registered": utc_text(int(time.time())), "plan_digest": digest, "late": late}
    if hypothesis:
        tags["hypothesis"] = hypothesis[:_LONGEST]
    run_id = client.start_run(TESTS + name, name)
    _finish(run_id, plan, tags, "the whole of an A/B test", {PLAN: json.dumps(plan, indent=1)})
    for arm, weight in plan["weights"].items():
        arm_run = client.start_run(TESTS + name, arm, run_id)
        role = {"role": ARM, "arm": arm, "control": arm == plan["control"], "plan_digest": digest}
        _finish(arm_run, {"arm": arm, "weight": weight}, role, "an arm of an A/B test", {})
    return known_test(name)


def _finish(run_id: str, settings: Mapping[str, Any], tags: Mapping[str, Any], what: str, texts: Any) -> None:
    with TemporaryDirectory() as place:
        for file, text in texts.items():
            (Path(place) / file).write_text(text, "utf-8")
        without = f"run {run_id} is {what} and has no bundle; its tag model_run names the run that has."
        client.finish_run(
            run_id,
            settings=_short(settings),
            tags={**tags, client.REPORT: what, client.WITHOUT_BUNDLE: without},
            metrics={},
            curves={},
            files=Path(place) if texts else None,
            status="RUNNING",
        )


def _short(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a plan: metrics by number, and no value longer than a parameter may be."""
    plain = {**settings, "metrics": {str(at): one for at, one in enumerate(settings.get("metrics", ()))}}
    return {
        key: str(value)[:_LONGEST] for key, value in flat(plain).items() if value not in (None, "", [], ())
    }


def note_changes(test: Test, plan: Mapping[str, Any], digest: str) -> Test:
    """Adds to the test what a plan has changed since it was registered, with the moment it was noticed, and
    returns the test as it then is."""
    if digest == test.digest:
        return test
    before, after = (flat(_by_name(one)) for one in (test.plan(), plan))
    known = test.changes()
    said = {(one["what"], one["after"]) for one in known}
    now = utc_text(int(time.time()))
    new = [
        {"at": now, "what": key, "before": str(before.get(key, "")), "after": str(after.get(key, ""))}
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and (key, str(after.get(key, ""))) not in said
    ]
    if not new:
        return test
    _write(
        test.run.run_id, {"changed": len(known) + len(new)}, {CHANGES: json.dumps([*known, *new], indent=1)}
    )
    return known_test(test.name)


def _by_name(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {**plan, "metrics": {one["name"]: one for one in plan["metrics"]}}


def log_analysis(
    test: Test,
    facts: Mapping[str, Any],
    files: Mapping[str, str],
    models: Sequence[Model],
    ledger: Mapping[str, Any],
) -> Test:
    """Writes what an analysis found: verdict and report on the whole, figures by day and the model on each
    arm.

    facts: as the report has them. files: name -> text, the report among them. ledger: arm -> its figures for
    it.
    """
    tags = {key: facts[key] or "" for key in ("verdict", "arm", "sentence", "next_step", "ended", "days")}
    tags |= {"until": facts["provenance"]["until"], "log_digest": facts["provenance"]["log_digest"]}
    tags[_NOTE] = f"**{facts['sentence']}**\n\n{facts['next_step']}\n\nThe whole report: artefact `{PAGE}`."
    tags |= {"decided_by": facts["decided_by"], "report_sha256": sha256(files[PAGE].encode()).hexdigest()}
    over = bool(facts["ended"]) or facts["verdict"] in ("ship", "do not ship")
    _write(test.run.run_id, tags, files, ended=over)
    views = facts["views"] or ()
    for arm, run in test.arms.items():
        mine = [one.plain() for one in models if one.arm == arm]
        told = {"people": facts["people"][arm]}
        for one in mine:
            if one["run_id"]:
                told[_NOTE] = (
                    f"Served bundle {one['bundle_id']}, trained by run {one['run_id']} ({one['model']})."
                )
            told |= {
                "served_bundle": one["bundle_id"],
                "model_run": one["run_id"] or "",
                "data": one["data"] or "",
                "data_digest": one["data_digest"] or "",
            }
        control = facts["plan"]["control"]
        # the control stands in the views of all arms
        first = {view["metric"]: view for view in reversed(views)}
        shown = first.values() if arm == control else views
        began = _second(facts["provenance"]["from"]) // DAY_S - 1
        points = [one for view in shown for one in _points(view, arm, control, began)]
        figures = ledger.get(arm, {})
        told |= {f"ledger.{key}": value for key, value in figures.items()}
        client.add_to_run(run.run_id, tags=_tags(told), points=points, ended=over)
    return known_test(test.name)


def write_figures(test: Test, arm: str, figures: Mapping[str, Any]) -> None:
    """Adds figures of an arm to its line in the ledger."""
    client.add_to_run(test.arms[arm].run_id, tags={f"ledger.{key}": value for key, value in figures.items()})


def _tags(told: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:_LONGEST] for key, value in told.items()}


def _write(run_id: str, tags: Mapping[str, Any], files: Mapping[str, str], *, ended: bool = False) -> None:
    with TemporaryDirectory() as place:
        for file, text in files.items():
            target = Path(place) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        client.add_to_run(run_id, tags=_tags(tags), files=Path(place), ended=ended)


def _second(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _points(view: Mapping[str, Any], arm: str, control: str, began: int) -> list[Point]:
    """A metric by day: the mean of each arm, and of others than the control the effect with its interval.
    began: the day since 1970 before the first of the test."""
    if arm not in (control, view["arm"]):
        return []
    name = key_of(view["metric"])
    side, mean = (0, "control") if arm == control else (1, "treated")
    points = []
    for look in view["by_look"]:
        second = _second(look["at"])
        day = (second - 1) // DAY_S - began
        figures = {"people": look["people"][side], name: look[mean]}
        if arm != control and look["share"]:
            figures |= {f"{name}.effect{end}": look["share"][key] for end, key in
                        (("", "mean"), ("_low", "low"), ("_high", "high"))}  # fmt: skip
        points += [
            Point(key, float(value), 1_000 * second, day)
            for key, value in figures.items()
            if value is not None
        ]
    return points


def key_of(metric: str) -> str:
    """A metric's name without the characters that MLflow refuses in a key."""
    return re.sub(r"[^\w\-. ]", "_", metric)[:200]
