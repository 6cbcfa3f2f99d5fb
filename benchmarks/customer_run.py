"""The whole line at a customer's size: two million users, 300,000 items, 30 million events. Seconds and
memory by step.

    python -m benchmarks.customer_run [--quick] [--json]

A planted world is written as Parquet; then the commands that a customer would type run one after the other,
each in a
process of its own: `recsys data check`, `recsys train` (read, split, iALS, judged on 50,000 users, bundle,
tracking), `recsys export`, and two processes of `python -m recsys.serving`. Peak memory is the kernel's
high-water mark of the resident set, mapped files included; within `recsys train` it is reset at the end of
each step. A service's own memory is its Pss, where a page that two processes share counts half for each.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import click

from benchmarks.results import report

ROOT = Path(__file__).parents[1]
ROWS = 1 << 20  # rows of a Parquet row group
GIB = 2**30
_STEP = re.compile(r"^(\w[\w ]*): ([\d.]+) s$")
_FIGURE = re.compile(r"^\| (als|popularity\w*) +\| +([\d.]+)", re.MULTILINE)


class Size(NamedTuple):
    """How large a run is; `events` a user on average."""

    users: int
    items: int
    events: float
    judged: int


FULL, QUICK = Size(2_000_000, 300_000, 15.0, 50_000), Size(60_000, 20_000, 15.0, 5_000)


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--quick", is_flag=True, help="60,000 users and 20,000 items; keeps the results of the last full run."
)
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for the files, 6 GB; default: a temporary one."
)
@click.option("--world-only", nargs=4, type=float, hidden=True)
def main(quick: bool, as_json: bool, work: Path | None, world_only: tuple[float, ...] | None) -> None:
    if world_only:
        assert work is not None
        return write_world(
            work, Size(int(world_only[0]), int(world_only[1]), world_only[2], int(world_only[3]))
        )
    size = QUICK if quick else FULL
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="customer-run-")))
        rows, facts = line(folder, size)
    title = f"{size.users:,} users, {size.items:,} items, {facts['events']:,} events through the whole line"
    headings = ("step", "seconds", "CPU seconds", "peak memory, GiB", "")
    columns = dict(zip(("step", "seconds", "cpu", "peak_gib", "note"), headings, strict=True))
    report(
        "customer_run", rows, title=title, columns=columns, note=_note(facts), quick=quick, as_json=as_json
    )


def _note(facts: dict[str, Any]) -> str:
    quality = ", ".join(f"{name} {value:.4f}" for name, value in facts["ndcg_at_10"].items())
    return (
        "Each command is a process of its own. CPU seconds are summed over cores. Peak memory: resident, "
        "mapped files included; of a service: its own "
        f"share (Pss), the pages it shares counted in parts. NDCG at 10 of the judged users: {quality}."
    )


def line(folder: Path, size: Size) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each step, and what was found on the way."""
    data = folder / "shop"
    arguments = [str(value) for value in size]
    world = ["-m", "benchmarks.customer_run", "--work", str(data), "--world-only", *arguments]
    made = _run("make the world", world, folder)
    counts = json.loads(made.output)
    rows = [made.row(f"{size.events:g} events a user, written as Parquet")]
    checked = _run("data check", _recsys("data", "check", data / "events.parquet"), folder, fails=True)
    absent = "No such command" in checked.error
    if checked.status not in (0, 1) and not absent:
        raise SystemExit(checked.error)
    rows.append(checked.row("not built yet: skipped" if absent else f"exit status {checked.status}"))
    trained = _run("train", _recsys("train", data, *_settings(size)), folder)
    rows += [{**step._asdict(), "step": f"train: {step.step}", "note": ""} for step in trained.steps]
    rows.append(trained.row("the whole command"))
    exported = _run("export", _recsys("export", "last", "--json"), folder)
    bundles = Path(json.loads(exported.output)["root"])
    megabytes = sum(path.stat().st_size for path in bundles.rglob("*") if path.is_file()) / 1e6
    rows.append(exported.row(f"a bundle of {megabytes:,.0f} MB"))
    rows += _worker_rows(bundles, folder, counts["people"])
    figures: dict[str, float] = {}
    for name, value in _FIGURE.findall(trained.output):
        figures.setdefault(name, float(value))  # the first table: ndcg_at_10
    return rows, {"events": counts["events"], "ndcg_at_10": figures}


def _settings(size: Size) -> list[str]:
    """The weights of the world's config, with the total weight of the unseen that it has at 5,000 items."""
    return [
        f"evaluate_users={size.judged}",
        "baselines_days=[30]",
        "model.dim=64",
        "model.epochs=4",
        f"model.unobserved_weight={100 / size.items:.6f}",
        "model.regularization=0.03",
    ]


class Part(NamedTuple):
    """A step that a process reported on standard error."""

    step: str
    seconds: float
    cpu: float
    peak_gib: float


class Ran(NamedTuple):
    """A finished process."""

    name: str
    status: int
    seconds: float
    cpu: float
    peak_gib: float
    output: str
    error: str
    steps: list[Part]

    def row(self, note: str) -> dict[str, Any]:
        seconds, cpu = round(self.seconds, 1), round(self.cpu, 1)
        return {"step": self.name, "seconds": seconds, "cpu": cpu, "peak_gib": self.peak_gib, "note": note}


def _recsys(*arguments: object) -> list[str]:
    return ["-m", "recsys.pipelines.cli", *map(str, arguments)]


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"RECSYS_HOME": str(folder), "PYTHONPATH": path, "COLUMNS": "200"}


def _run(name: str, arguments: Sequence[str], folder: Path, fails: bool = False) -> Ran:
    """Runs Python with these arguments; raises SystemExit with its words where it fails and may not."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    started, spent = time.perf_counter(), 0.0
    steps: list[Part] = []
    errors: list[str] = []
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=_environment(folder),
        )
        assert process.stderr is not None
        for text in process.stderr:
            errors.append(text)
            if match := _STEP.match(text.strip()):
                cpu = _cpu_seconds(process.pid)
                steps.append(Part(match[1], float(match[2]), round(cpu - spent, 1), _peak_gib(process.pid)))
                spent = cpu
                print(f"  {text.strip()}, {steps[-1].peak_gib} GiB", file=sys.stderr, flush=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    peak = max([round(usage.ru_maxrss * 1024 / GIB, 2), *(step.peak_gib for step in steps)])
    cpu = usage.ru_utime + usage.ru_stime
    error = "".join(errors)
    if process.returncode and not fails:
        raise SystemExit(f"{name} failed: {error[-3000:]}")
    return Ran(name, process.returncode, time.perf_counter() - started, cpu, peak, said, error, steps)


def _cpu_seconds(pid: int) -> float:
    """What a running process has used so far, over all its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_gib(pid: int) -> float:
    """The high-water mark of a process's resident set since it was last asked."""
    status = Path(f"/proc/{pid}/status")
    try:
        kib = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])  # type: ignore[index]
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except (OSError, TypeError):
        return 0.0
    return round(kib * 1024 / GIB, 2)


def _worker_rows(bundles: Path, folder: Path, people: Sequence[str]) -> list[dict[str, Any]]:
    """Two workers on one bundle: seconds to ready, and the memory that each adds."""
    rows, serving = [], ["-m", "recsys.serving", str(bundles), "--port", "0", "--until-stdin-closes"]
    with ExitStack() as stack:
        workers = []
        for number in ("first", "second"):
            print(f"serve, {number} worker ...", file=sys.stderr, flush=True)
            started = time.perf_counter()
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *serving, "--exposures", f"{number}.jsonl"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    cwd=folder,
                    env=_environment(folder),
                )
            )
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            url = json.loads(process.stdout.readline())["url"]
            seconds = time.perf_counter() - started
            milliseconds = _request_ms(url, people)
            workers.append(process.pid)
            memory = _memory(process.pid)
            peak = _peak_gib(process.pid)
            note = (
                f"ready; resident {memory['Rss']:.2f} GiB (peak {peak:.2f}), of it its own "
                f"{memory['Private']:.2f}; {milliseconds:.0f} ms a request"
            )
            row = {
                "step": f"serve: {number} worker",
                "seconds": round(seconds, 1),
                "peak_gib": round(memory["Pss"], 2),
            }
            rows.append(row | {"note": note, "rss_gib": memory["Rss"], "private_gib": memory["Private"]})
        together = sum(_memory(pid)["Pss"] for pid in workers)
        rows.append(
            {
                "step": "serve: both",
                "seconds": None,
                "peak_gib": round(together, 2),
                "note": "the sum of their Pss",
            }
        )
    return rows


def _request_ms(url: str, people: Sequence[str]) -> float:
    """Milliseconds that a request takes, the median over people; each gets ten items, and most are known."""
    taken, sources = [], []
    for person in people:
        body = json.dumps({"user_id": person, "k": 10}).encode()
        request = Request(f"{url}/v1/recommend", body, {"Content-Type": "application/json"})
        started = time.perf_counter()
        with urlopen(request, timeout=30) as response:
            answer = json.load(response)
        taken.append(time.perf_counter() - started)
        sources.append(answer["source"])
        assert len(answer["items"]) == 10, answer
    assert sources.count("known") > len(people) // 2, sources
    return sorted(taken)[len(taken) // 2] * 1000


def _memory(pid: int) -> dict[str, float]:
    """GiB of a process: Rss, Pss, and Private, the pages that nobody shares."""
    pairs = re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    kib = {name: int(value) for name, value in pairs}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"Rss": kib["Rss"] * 1024 / GIB, "Pss": kib["Pss"] * 1024 / GIB, "Private": private * 1024 / GIB}


def write_world(folder: Path, size: Size) -> None:
    """A world as a customer keeps a log: `events.parquet` in row groups, and `items.parquet`."""
    import pyarrow as pa
    from pyarrow import parquet

    from recsys.data.planted.world import WorldSettings, make_world

    folder.mkdir(parents=True, exist_ok=True)
    data = make_world(WorldSettings(users=size.users, items=size.items, events_per_user=size.events)).dataset
    users, items = pa.array(list(data.user_ids)), pa.array(list(data.item_ids))
    events = data.interactions
    schema = pa.schema({"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64()})
    with parquet.ParquetWriter(folder / "events.parquet", schema) as writer:
        for first in range(0, len(events), ROWS):
            part = events.where(slice(first, first + ROWS))
            columns = [users.take(pa.array(part.user)), items.take(pa.array(part.item)), pa.array(part.time)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS)
    parquet.write_table(data.items.add_column(0, "item_id", items), folder / "items.parquet")
    asked = range(0, size.users, max(1, size.users // 100))
    print(json.dumps({"events": len(events), "people": [data.user_ids[number] for number in asked]}))


if __name__ == "__main__":
    main()
