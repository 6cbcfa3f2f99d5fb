"""What each worker serves, told to the others: a small file for each, in the folder that they share.

So any of them can say whether all have followed a change, and the parent knows what is served without loading
it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # the parent of workers loads nothing of what answers
    from recsys.serving.state import Live, Swap

_PREFIX = "report-"


@dataclass(frozen=True)
class Report:
    """What one process serves. etag: of the deployment; error: of its last attempt; times in unix seconds."""

    pid: int
    bundle_id: str | None
    etag: str | None
    run_id: str
    space_id: str
    created: float
    loaded: int
    error: str | None


class Reports:
    """folder: shared by all workers; None where there is one, which then keeps what it says."""

    def __init__(self, folder: Path | None, workers: int) -> None:
        self.workers, self._folder = workers, folder
        self._mine: Report | None = None

    def write(self, live: "Live | None", swap: "Swap") -> None:
        """Writes what this process serves now."""
        manifest = {} if live is None else live.champion.manifest
        created = datetime.fromisoformat(manifest["created"]).timestamp() if "created" in manifest else 0.0
        self._mine = Report(
            os.getpid(),
            None if live is None else live.champion.bundle_id,
            None if live is None else live.deployment.etag,
            str(manifest.get("lineage", {}).get("run_id") or ""),
            str(manifest.get("space_id", "")),
            created,
            swap.since,
            swap.error,
        )
        if self._folder is not None:
            aside = self._folder / f".{_PREFIX}{os.getpid()}"
            aside.write_text(json.dumps(asdict(self._mine)))
            aside.replace(self._folder / f"{_PREFIX}{os.getpid()}")

    def read(self) -> list[Report]:
        """The reports of processes that live; files of dead ones are removed."""
        if self._folder is None:
            return [] if self._mine is None else [self._mine]
        reports = []
        for path in self._folder.glob(f"{_PREFIX}*"):
            if not Path(f"/proc/{path.name.removeprefix(_PREFIX)}").exists():
                path.unlink(missing_ok=True)
                continue
            try:
                reports.append(Report(**json.loads(path.read_text())))
            except FileNotFoundError:  # it ended in between
                continue
        return reports


class WhatIsServed(Collector):
    """Metrics of what is served, and sums over the processes that serve it."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        reports = self._reports.read()
        info = GaugeMetricFamily(
            "recsys_bundle_info",
            "The bundles that answer as champion",
            labels=("bundle_id", "run_id", "space_id"),
        )
        for ids in sorted({(one.bundle_id or "", one.run_id, one.space_id) for one in reports}):
            info.add_metric(ids, 1.0)
        loaded = GaugeMetricFamily(
            "recsys_bundle_loaded_timestamp_seconds", "When it was swapped in, by the last of all"
        )
        created = GaugeMetricFamily(
            "recsys_bundle_created_timestamp_seconds", "When it was made; the oldest of them"
        )
        if reports:
            loaded.add_metric((), max(one.loaded for one in reports))
            created.add_metric((), min(one.created for one in reports))
        yield from (info, loaded, created, *_of_processes([one.pid for one in reports]))


def _of_processes(pids: list[int]) -> Iterator[Metric]:
    """Prometheus's own metrics of processes: the sum, but of what is a moment or a limit the least."""
    families: dict[str, tuple[Metric, list[float]]] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            held = families.setdefault(family.name, (family, []))
            held[1].extend(sample.value for sample in family.samples)
    for family, values in families.values():
        whole = min(values) if "start_time" in family.name or "max" in family.name else sum(values)
        family.samples = [family.samples[0]._replace(value=whole)]
        yield family
