"""What a person sees: progress bars on standard error, tables and steps on standard output."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from recsys.pipelines.commands import interrupt
from recsys.progress import Progress, Step
from recsys.text import COLUMNS, fit_tables

LOG_EVERY_S = 30.0  # seconds between the lines about a long step, where standard error is no terminal


def fitting(text: str) -> str:
    """The text with its tables made to fit the terminal, or, where there is none, what COLUMNS says, or 100
    columns."""
    return fit_tables(text, shutil.get_terminal_size((COLUMNS, 0)).columns)


class _Compiling(logging.Handler):
    """Says once that functions are being compiled, which takes seconds."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).removeHandler(self)
        _log(record.getMessage())


def _say_what_is_compiled() -> None:
    log = logging.getLogger("recsys.matrix.compiled")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
        log.addHandler(_Compiling())


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _console() -> Any:
    """Standard error as rich writes to it; None on a machine that only serves, where rich is not
    installed."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    return Console(stderr=True, force_terminal=sys.stderr.isatty())  # no colours elsewhere, whatever is set


def _bars(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _say_dimly(console: Any, text: str) -> None:
    if console is None:
        _log(text)
    else:
        console.print(text, style="dim", highlight=False)


class Steps:
    """Names each step of a command, times it, and draws a bar for what reports progress inside; a log gets
    lines.

    began: unix seconds. seconds: name -> seconds of the finished steps. curves: task -> figures of its steps,
    in order. load: how busy the machine was, at each look (`machine/load.py`).
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.began = quiet, time.time()
        self.seconds: dict[str, float] = {}
        self.curves: dict[str, list[Mapping[str, float]]] = {}
        self.load: list[Mapping[str, float]] = []
        if not quiet:
            _say_what_is_compiled()

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Times a step; what it yields is the progress to hand to long work."""
        started = time.perf_counter()
        console = _console()
        drawn = console is not None and console.is_terminal and not self.quiet
        plain = not self.quiet and not drawn  # a log: no bars, a line now and then
        if plain:
            _log(f"{name} ...")
        with _bars(console) if drawn else nullcontext() as bars:
            tasks: dict[str, Any] = {}
            said = started

            def report(step: Step) -> None:
                nonlocal said
                interrupt.stop_if_asked()
                if step.task not in tasks:
                    tasks[step.task] = bars.add_task(step.task, total=step.total) if bars else None
                    if not step.done and not self.quiet:  # said before it begins: what it is about to take
                        _say_dimly(console, step.task)
                if bars:
                    bars.update(tasks[step.task], completed=step.done)
                if plain and time.perf_counter() - said >= LOG_EVERY_S:
                    said = time.perf_counter()
                    _log(f"{step.task}: {step.done:,} of {step.total:,}")
                if step.values:
                    self.curves.setdefault(step.task, []).append(step.values)

            if bars:
                bars.add_task(name, total=None)
            yield report
        seconds = time.perf_counter() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 2)
        if not self.quiet:
            _say_dimly(console, f"{name}: {seconds:.1f} s")

    def warn(self, text: str) -> None:
        """Prints a warning on standard error."""
        print(f"recsys: warning: {text}", file=sys.stderr, flush=True)

    def say(self, text: str = "") -> None:
        """Lines for the person, unless only the machine listens; tables fit a console."""
        if not self.quiet:
            print(fitting(text), flush=True)
