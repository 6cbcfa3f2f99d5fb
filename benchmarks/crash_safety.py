"""Does an export that is killed at a random moment ever cost the bundle that is being served?

    python -m benchmarks.crash_safety [--quick] [--json]

A bundle of over 200 MB is exported again and again, and `kill -9` hits the exporting process: in the phases
write, fsync, rename (of the folder) and pointer in turn. The exporter announces over a pipe where it is. One
undisturbed export gives the length of each operation; a kill is aimed at a uniformly random instant of its
phase's time. It is counted in the phase that the exporter had last announced when it died, whatever was aimed
at; deaths between two operations count in none of the four. After each kill the current bundle is loaded in
full (every hash, every golden query): it must be the previous one, or, once the pointer has been renamed, the
new one.

A rename takes microseconds, so kills would hardly ever fall around it: in the phases rename and pointer the
exporter sleeps up to 5 ms before and up to 5 ms after `os.replace`, within the announced phase. Nothing else
is slowed down. A
kill is not a power cut: that everything is fsynced in the right order is shown by tests/test_crash_safety.py.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks.results import report

PHASES = ("write", "fsync", "rename", "pointer")
BETWEEN = "between two operations"
LONGEST_NAP_S = 0.005


class Operation(NamedTuple):
    """One announced operation of the undisturbed export."""

    phase: str
    seconds: float


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--quick", is_flag=True, help="A tenth of the size and 20 kills; keeps the results of the last full run."
)
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(quick: bool, as_json: bool) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # the exporters are forked, and threads do not survive that
    content = import_module("tests.helpers.bundles").content

    size = 40_000 if quick else 400_000
    total = 20 if quick else 50
    with tempfile.TemporaryDirectory(prefix="crash-safety-") as folder:
        made = content(size, size, 64, events=5, solved=False)
        rows, megabytes = campaign(Path(folder), made, total)
    title = f"{rows[-1]['kills']} kills of an export of {megabytes:.0f} MB"
    columns = {
        "what": "killed in phase",
        "kills": "kills",
        "previous_loads": "previous bundle loads",
        "new_loads": "new bundle loads",
        "lost": "lost",
    }
    note = (
        "After each `kill -9` the current bundle is verified in full. The new one is current only once its "
        "pointer was renamed. Phases rename and pointer are widened by up to 5 ms before and after the "
        "rename."
    )
    report("crash_safety", rows, title=title, columns=columns, note=note, quick=quick, as_json=as_json)
    if any(row["lost"] for row in rows):
        raise SystemExit(1)


def campaign(root: Path, made: Any, total: int) -> tuple[list[dict[str, Any]], float]:
    """Kills until each phase was hit five times and the four together `total` times; a row for each, and the
    sum."""
    from recsys.bundle.manifest import read_manifest
    from recsys.bundle.root import current
    from recsys.bundle.write import publish

    export(root, made, None)  # the first one is slower than those that follow
    operations, _ = export(root, made, None)
    megabytes = sum(entry["bytes"] for entry in read_manifest(current(root))["files"].values()) / 1e6
    kills: Counter[str] = Counter()
    outcomes: Counter[tuple[str, str]] = Counter()
    tries = 0
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"killing exports of {megabytes:.0f} MB", total=total)
        while (inside := kills.total() - kills[BETWEEN]) < total or min(kills[phase] for phase in PHASES) < 5:
            progress.update(bar, completed=inside)
            previous = current(root)
            phase = PHASES[tries % len(PHASES)]
            tries += 1
            if tries > 5 * total:
                raise SystemExit(
                    f"after {tries} tries only {dict(kills)} kills; the exporter is too fast to be hit."
                )
            _, died = export(root, made, aimed_at(operations, phase))
            if died is not None:
                where, renamed = died
                kills[where] += 1
                outcomes[where, outcome(root, previous, where, renamed)] += 1
            keep_only(root, current(root))
        progress.update(bar, completed=total)
    publish(root, made)
    if left := [path.name for path in root.iterdir() if path.name.endswith(".partial")]:
        raise SystemExit(f"the last, undisturbed export did not sweep away {left}.")
    rows: list[dict[str, Any]] = [
        {
            "what": what,
            "kills": kills[what],
            "previous_loads": outcomes[what, "previous"],
            "new_loads": outcomes[what, "new"],
            "lost": outcomes[what, "lost"],
        }
        for what in (*PHASES, BETWEEN)
        if kills[what]
    ]
    sums = {key: sum(row[key] for row in rows) for key in ("kills", "previous_loads", "new_loads", "lost")}
    return [*rows, {"what": "all", **sums}], megabytes


def aimed_at(operations: list[Operation], phase: str) -> tuple[str, int, float]:
    """A random instant of a phase: its name, the number of the operation in it, the seconds since that
    began."""
    mine = [operation.seconds for operation in operations if operation.phase == phase]
    instant = random.uniform(0, sum(mine))
    for number, seconds in enumerate(mine):
        if instant <= seconds or number == len(mine) - 1:
            return phase, number, min(instant, seconds)
        instant -= seconds
    raise ValueError(f"the export has no phase {phase}")


def outcome(root: Path, previous: Path, where: str, renamed: bool) -> str:
    """Which bundle is current and loads in full; lost where none does, or not the one that it must be by
    now."""
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.errors import BundleError

    try:
        loaded = load(current(root))
    except BundleError as error:
        click.echo(f"lost: {error}", err=True)
        return "lost"
    if loaded.path != previous:
        return "new" if renamed or where == "pointer" else "lost"
    return "lost" if renamed else "previous"


def keep_only(root: Path, whole: Path) -> None:
    """Deletes the other whole bundles, lest the disk fill; what is partial is left for the next export to
    sweep."""
    for path in root.iterdir():
        if path.is_dir() and path != whole and not path.name.endswith(".partial"):
            shutil.rmtree(path)


def export(
    root: Path, made: Any, aim: tuple[str, int, float] | None
) -> tuple[list[Operation], tuple[str, bool] | None]:
    """Exports in a forked process, which dies at `aim` if that comes before its end.

    Returns the operations it went through and, where it was killed, in which phase it died and whether it had
    already announced the pointer's rename.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        exporter(root, made, lambda text: os.write(writing, f"{text}\n".encode()))
    os.close(writing)
    operations, last, began, renamed = [], BETWEEN, 0.0, False
    seen: Counter[str] = Counter()
    with os.fdopen(reading) as announced:
        for line in announced:
            moment, phase = line.split()
            if moment == "in":
                last, began = phase, time.perf_counter()
                if aim is not None and aim[:2] == (phase, seen[phase]):
                    time.sleep(aim[2])
                    os.kill(child, signal.SIGKILL)
                seen[phase] += 1
            elif moment == "renamed":
                renamed = phase == "pointer"
            else:
                operations.append(Operation(phase, time.perf_counter() - began))
                last = BETWEEN
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"the exporter failed with status {status}.")
    return operations, None if status == 0 else (last, renamed)


def exporter(root: Path, made: Any, announce: Callable[[str], object]) -> None:
    """The forked process: exports, announcing each operation when it begins and when it ends."""
    from recsys import durable
    from recsys.bundle.write import publish

    inside: list[str] = []

    @contextmanager
    def announcing(phase: str) -> Any:
        """Announces the outermost phase only: the fsync within a rename belongs to the rename."""
        inside.append(phase)
        if len(inside) == 1:
            announce(f"in {phase}")
        yield
        inside.pop()
        if not inside:
            announce(f"out {phase}")

    def hook(phase: str, operation: Callable[..., object]) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            with announcing(phase):
                operation(*arguments)

        return run

    replace = os.replace

    def replace_with_naps(source: Path, target: Path) -> None:
        time.sleep(random.uniform(0, LONGEST_NAP_S))
        replace(source, target)
        announce(f"renamed {inside[0]}")
        time.sleep(random.uniform(0, LONGEST_NAP_S))

    random.seed()
    os.replace = replace_with_naps  # type: ignore[assignment]
    durable.write = hook("write", durable.write)
    durable.fsync = hook("fsync", durable.fsync)
    durable.rename = hook("rename", durable.rename)
    durable.write_pointer = hook("pointer", durable.write_pointer)
    try:
        publish(root, made)
    except BaseException as error:
        click.echo(repr(error), err=True)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
