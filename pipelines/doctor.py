"""The doctor at the command line: which bundle, at what moment, and how it is said."""

import time
from pathlib import Path
from typing import Any

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.evaluation.doctor import AILMENTS, Diagnosis, examine
from recsys.pipelines.run.settings import WORLD
from recsys.pipelines.tracking import address
from recsys.pipelines.tracking.registry import resolve
from recsys.text import text_table


def open_bundle(reference: str) -> Bundle:
    """The bundle of a folder, or of a run (an id or its beginning, `last`, `champion`, `challenger`)."""
    if Path(reference).exists():
        return load(current(Path(reference)))
    run_id = resolve(reference)
    return load(address.bundle_of(run_id))


def diagnose(bundle: Bundle, now: int | None) -> Diagnosis:
    """now: unix seconds; None = the clock. A planted world has no clock: how old its data are is not
    asked."""
    planted = bundle.manifest["lineage"].get("settings", {}).get("data") == WORLD
    if now is None and not planted:
        now = int(time.time())
    return examine(bundle, now=now)


def describe_diagnosis(bundle: Bundle, diagnosis: Diagnosis) -> str:
    """Findings with cause and fix, then every measure beside its threshold."""
    lines = [f"bundle {bundle.bundle_id} ({bundle.manifest['name']}). {diagnosis.note}", ""]
    for finding in diagnosis.findings:
        lines += [f"{finding.code}: {finding.cause}", f"  fix: {finding.fix}"]
    if not diagnosis.findings:
        lines.append("Nothing found.")
    rows = [
        [
            code,
            "-" if value is None else f"{value:.3g}",
            f"{'below' if AILMENTS[code].low else 'above'} {bound:.3g}",
        ]
        for code, value in diagnosis.measures.items()
        for bound in [AILMENTS[code].threshold]
    ]
    return "\n".join([*lines, "", text_table(["measure", "found", "sick"], rows)])


def plain(bundle: Bundle, diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as plain data, for JSON."""
    from dataclasses import asdict

    return {"bundle_id": bundle.bundle_id, "healthy": not diagnosis.findings, **asdict(diagnosis)}
