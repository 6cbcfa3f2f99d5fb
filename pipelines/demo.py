"""The whole line in one command, told in four parts on two screens: the data, what was compared, what the
winner recommends and why, and what to type next."""

import json
import math
import os
import sys
import textwrap
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Any

import numpy as np

from recsys.bundle.root import copy_into
from recsys.data.split.holdout import Holdout
from recsys.errors import DataError, ModelError
from recsys.evaluation.planted import attainable_gain, sample_rows, truths
from recsys.evaluation.significance import Interval
from recsys.evaluation.tables import against, plain_interval, shown_metrics
from recsys.pipelines.console import Steps
from recsys.pipelines.machine.distributed import refuse_alone
from recsys.pipelines.run.measure import Measured
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.run.train import Trained, comparisons_of, metrics_of, train
from recsys.pipelines.service import ask, running
from recsys.pipelines.tracking.store import store, tracking_uri
from recsys.text import COLUMNS, command_line, one_line, text_table

_METRICS = ("ndcg_at_10", "recall_at_20", "hit_rate_at_10")
_CLICKS = 3
_REGULAR = 20  # events: enough to know a taste, few enough to follow the reasons
_TITLES = 5  # of an answer, on the screen
_KNOWS = {
    "oracle": " (knows what all are up to)",
    "informed": " (knows all items, and people by their events)",
}


def demo(settings: RunSettings, steps: Steps, *, domains: bool = False) -> dict[str, Any]:
    """Runs the line, prints what a person wants to see, and returns the same as plain data.

    domains: whether somebody of one domain asks for things of another, too.
    """
    refuse_alone(settings)
    run = prepare(settings, steps)
    _tell_data(run)
    trained = train(run)
    if trained.bundle is None:
        raise ModelError(trained.without)
    _tell_comparison(run, trained.measured)
    attainable = _attainable(run, trained)
    asked = people(run.holdout) | (strangers_to_a_domain(run.holdout) if domains else {})
    root = store() / "bundles"
    with steps.step("export"):
        folder = copy_into(root, trained.bundle)
    with steps.step("serve and ask"), running(root) as url:
        answers = [(person, body, ask(url, body)) for person, body in asked.items()]
    steps.say(f"3. What {trained.measured.name} recommends, and why")
    for person, body, answer in answers:
        _tell_answer(run, person, body, answer)
    _tell_next(root, answers[1][1], steps)
    return {
        "seconds": steps.seconds,
        "metrics": metrics_of(trained.measured),
        "comparisons": comparisons_of(trained.measured),
        "attainable": attainable,
        "bundle": str(folder),
        "run_id": trained.run_id,
        "recommendations": {
            person: {
                "request": body,
                "source": answer["source"],
                "why": answer["why"],
                "items": answer["items"],
            }
            for person, body, answer in answers
        },
    }


def _tell_data(run: Run) -> None:
    """What is learned from, what is judged on, and what is special about it."""
    summary, warm = run.data.interactions.summary(), int(run.holdout.warm.sum())
    planted = ", drawn from tastes that are known, so that it can be said how much of them was learned"
    steps, users = run.steps, len(run.holdout.user)
    steps.say(f"\n1. The data: {run.data.name}")
    _say_wrapped(
        steps,
        f"{summary['events']:,} events of {summary['users']:,} users on {summary['items']:,} items"
        f"{'' if run.world is None else planted}. Judged on the {run.title.partition(', ')[2]}. {users:,} "
        f"users are asked for, {warm:,} of them known from before.\n",
    )


def _tell_comparison(run: Run, measured: Measured) -> None:
    """A row for each model with its first two metrics, and which is the best by a paired test."""
    steps, metrics = run.steps, shown_metrics(measured.report)[:2]
    steps.say(f"2. What was compared: {measured.name}, and what needs no learning")
    rows = [
        [name, *(report.interval(metric).text() for metric in metrics)]
        for name, report in measured.reports.items()
    ]
    steps.say(text_table(["model", *metrics], rows))
    others = {name: measured.reports[name].values[metrics[0]] for name in measured.comparisons}
    nearest = max(others, key=lambda name: float(np.nanmean(others[name])))
    verdicts = {one.verdict for one in measured.comparisons.values()}
    wins = "is the best" if verdicts == {"better"} else "against the best of the others"
    _say_wrapped(
        steps,
        f"\nMean over users, 95 % bootstrap interval. {measured.name} {wins}: by a paired t-test on "
        f"{metrics[0]} against {nearest}, {against(measured.comparisons[nearest])}.\n",
    )


def _attainable(run: Run, trained: Trained) -> dict[str, Any] | None:
    """What the rankers that know the planted truth reach on a sample of users, and the model's share of
    it."""
    if run.world is None or run.holdout.now is None or "ndcg_at_10" not in trained.measured.report.values:
        return None
    rows = sample_rows(run.holdout, run.settings.seed)
    with run.steps.step("oracle and informed") as progress:
        known = truths(run.world, run.holdout, rows, _METRICS, progress)
    measured = trained.measured
    values = {name: report.values["ndcg_at_10"][rows] for name, report in measured.reports.items()}
    best = max((name for name in values if name != measured.name), key=lambda name: values[name].mean())
    gain = attainable_gain(values[measured.name], values[best], known["informed"].values["ndcg_at_10"])
    means = {name: float(value.mean()) for name, value in values.items()}
    means |= {name: report.interval("ndcg_at_10").mean for name, report in known.items()}
    shown = ", ".join(
        f"{name} {means[name]:.4f}{_KNOWS.get(name, '')}" for name in (*known, measured.name, best)
    )
    _say_wrapped(run.steps, f"What could be learned, by ndcg_at_10 on {len(rows):,} known users: {shown}.")
    _say_wrapped(run.steps, gain_said(measured.name, best, gain) + "\n")
    return {"gain": plain_interval(gain), "over": best, "users": len(rows), "ndcg_at_10": means}


def gain_said(model: str, best: str, gain: Interval) -> str:
    """The attainable gain in one sentence."""
    if math.isnan(gain.mean):
        return (
            f"Attainable gain of {model}: none to measure, for here the informed ranker is no better than "
            f"{best}: tastes that popularity does not tell (world.taste) are what there is to gain."
        )
    return f"Attainable gain of {model}: {gain.text('.3f')} = ({model} - {best}) / (informed - {best})"


def people(holdout: Holdout) -> dict[str, dict[str, Any]]:
    """Three requests: a regular of the training set, a newcomer with three clicks, and a stranger.

    The regular is the first user with nearly _REGULAR events. The newcomer's clicks are the last ones of the
    next such user, sent without a user id.
    """
    data = holdout.train
    counts = np.bincount(data.interactions.user, minlength=data.n_users)
    if len(counts) < 2:
        raise DataError(
            f"{data.name} has one user; the demo asks for three people and needs two to choose from."
        )
    regular, other = np.argsort(np.abs(counts - _REGULAR), kind="stable")[:2]
    clicks = data.interactions.item[data.interactions.user == other][-_CLICKS:]
    return {
        "a regular": {"user_id": data.user_ids[int(regular)], "k": 10},
        "a newcomer with three clicks": {
            "history": [{"item_id": data.item_ids[int(item)]} for item in clicks],
            "k": 10,
        },
        "a stranger": {"user_id": "never-seen-before", "k": 10},
    }


def strangers_to_a_domain(holdout: Holdout) -> dict[str, dict[str, Any]]:
    """A request for each domain, by somebody who has done things in another one alone: their last ones
    there."""
    data, requests = holdout.train, {}
    names, codes = data.domains
    if len(names) < 2:
        raise DataError(
            f"{data.name} has {len(names) or 'no'} domains; the demo of domains needs two or more."
        )
    events, code = data.interactions, codes[data.interactions.item]
    counts = [np.bincount(events.user[code == at], minlength=data.n_users) for at in range(len(names))]
    total = np.sum(counts, axis=0)
    for name, there in zip(names, counts, strict=True):
        elsewhere = np.flatnonzero((there == 0) & (total > 0))
        if not len(elsewhere):
            continue
        person = elsewhere[np.abs(total[elsewhere] - _REGULAR).argmin()]
        clicks = events.item[events.user == person][-_CLICKS:]
        known = names[int(codes[clicks[-1]])]
        history = [{"item_id": data.item_ids[int(item)]} for item in clicks]
        requests[f"somebody who knows {known} alone and asks for {name}"] = {
            "domain": name,
            "history": history,
            "k": 5,
        }
    return requests


def _tell_answer(run: Run, person: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    """Who asks, why the answer is what it is, and its first titles with their reasons."""
    items = run.data.items["title"], run.data.item_ids
    clicked = [
        items[0][items[1].index(event["item_id"])].as_py() or event["item_id"]
        for event in body.get("history", [])
    ]
    after = f" They clicked on {'; '.join(map(one_line, clicked))}." if clicked else ""
    _say_wrapped(run.steps, f"For {person} ({answer['source']}): {answer['why']}{after}")
    rows = [
        [item["title"] or item["item_id"], item["reason"] or "", f"{item['score']:.3f}"]
        for item in answer["items"][:_TITLES]
    ]
    run.steps.say(text_table(["title", "reason", "score"], rows) + "\n")


def _tell_next(root: Path, request: dict[str, Any], steps: Steps) -> None:
    """The same steps by hand, the run with its pictures, and how to use own data."""
    commands, served = _commands(), os.path.relpath(root) if root.is_relative_to(Path.cwd()) else str(root)
    steps.say("4. What to type next")
    steps.say("The service, and from another terminal the newcomer's question:")
    steps.say(f"  {commands}{command_line('recsys serve', served, port=8000)}")
    steps.say("  curl -s localhost:8000/v1/recommend -H 'content-type: application/json' \\")
    steps.say(f"  -d {quote(json.dumps(request, separators=(',', ':')))}")
    steps.say("The run with all metrics, segments and pictures, at http://127.0.0.1:5000, *Model training*:")
    steps.say(f"  {commands}mlflow ui --backend-store-uri {quote(tracking_uri())}")
    steps.say("Your own clicks, a table of who, what and when, by your names of the columns:")
    steps.say(f"  {commands}recsys train clicks.csv --user-col visitor --item-col article --time-col at")


def _say_wrapped(steps: Steps, text: str) -> None:
    """Sentences in lines that fit a console; line breaks around them stay."""
    start, end = text[: len(text) - len(text.lstrip("\n"))], text[len(text.rstrip("\n")) :]
    steps.say(
        start + textwrap.fill(text.strip(), COLUMNS, break_long_words=False, break_on_hyphens=False) + end
    )


def _commands() -> str:
    """What to write before a command of this environment: nothing where the shell finds it."""
    return "" if which("recsys") else os.path.relpath(Path(sys.executable).parent) + "/"
