"""The verdict on an experiment, said and written: the same for tables and for what the service wrote down."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.analysis.health.check import Check
from recsys.analysis.plan import Plan
from recsys.analysis.verdict import SHIP, analyse
from recsys.pipelines.ab.report import describe_verdict, plain
from recsys.pipelines.commands.stage import Negative
from recsys.pipelines.console import Steps


def judge_tables(
    steps: Steps,
    exposures: str,
    outcomes: str,
    plan: Plan,
    *,
    people: str | None = None,
    until: int | None = None,
    out: Path | None = None,
    page: Path | None = None,
    name: str | None = None,
    track: bool = False,
    hypothesis: str = "",
    read: Mapping[str, str] | None = None,
    show_sick: bool = False,
    beside: Sequence[Check] = (),
    more: dict[str, Any] | None = None,
) -> Any:
    """The report for machines, in a Negative where it does not say `ship`; people read it as it is made.

    out: a file that it is written into, too. page, name, track, hypothesis: as `publish` has them, which is
    asked where there is a page or a test to be tracked. read: where the tables come from, None = they are
    files of the user's. beside: checks of what the tables do not say. more: goes into the report.
    """
    with steps.step("analyse") as progress:
        verdict = analyse(
            exposures, outcomes, plan, people=people, until=until, beside=beside, progress=progress
        )
    result = {**plain(verdict, show_sick=show_sick), **(more or {})}
    if page is not None or track:
        from recsys.pipelines.ab.publish import publish

        files = {"exposures": exposures, "outcomes": outcomes, **({"people": people} if people else {})}
        with steps.step("report") as progress:
            publish(verdict, exposures, name=name, tables=read or files, page=page, track=track,
                    hypothesis=hypothesis, show_sick=show_sick, progress=progress)  # fmt: skip
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    steps.say(describe_verdict(verdict, show_sick=show_sick))
    return result if verdict.word == SHIP else Negative(result)
