"""The whole line in one command: data -> learn -> evaluate -> MLflow -> bundle -> service -> an answer with
titles."""

import json
import math
import os
import sys
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
from recsys.evaluation.tables import plain_interval
from recsys.pipelines.console import Steps
from recsys.pipelines.machine.distributed import refuse_alone
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.run.train import Trained, comparisons_of, metrics_of, train
from recsys.pipelines.service import ask, running
from recsys.pipelines.tracking.store import store, tracking_uri
from recsys.text import command_line, one_line, text_table

_METRICS = ("ndcg_at_10", "recall_at_20", "hit_rate_at_10")
_CLICKS = 3
_REGULAR = 20  # events: enough to know a taste, few enough to follow the reasons


def demo(settings: RunSettings, steps: Steps, *, domains: bool = False) -> dict[str, Any]:
    """Runs the line, prints what a person wants to see, and returns the same as plain data.

    domains: whether somebody of one domain asks for things of another, too.
    """
    refuse_alone(settings)
    steps.say(f"Data: {settings.data}")
    run = prepare(settings, steps)
    summary = run.data.interactions.summary()
    steps.say(f"  {summary['events']:,} events of {summary['users']:,} users on {summary['items']:,} items\n")
    trained = train(run)
    steps.say(trained.table + "\n")
    if trained.bundle is None:
        raise ModelError(trained.without)
    attainable = _attainable(run, trained)
    asked = people(run.holdout) | (strangers_to_a_domain(run.holdout) if domains else {})
    root = store() / "bundles"
    with steps.step("export"):
        folder = copy_into(root, trained.bundle)
    with steps.step("serve and ask"), running(root) as url:
        answers = [(person, body, ask(url, body)) for person, body in asked.items()]
    for person, body, answer in answers:
        _show(run, person, body, answer)
    _farewell(root, trained, answers[1][1], steps)
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
    shown = [
        "oracle",
        "informed",
        measured.name,
        *sorted(set(values) - {measured.name}, key=means.__getitem__)[::-1],
    ]
    run.steps.say(f"What could be learned: ndcg_at_10 on {len(rows):,} sampled warm users.\n")
    run.steps.say(text_table(["ranker", "ndcg_at_10"], [[name, f"{means[name]:.4f}"] for name in shown]))
    run.steps.say("\n" + gain_said(measured.name, best, gain) + "\n")
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


def _show(run: Run, person: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    run.steps.say(f"For {person} ({answer['source']}): {answer['why']}")
    data = run.data
    for event in body.get("history", []):
        title = data.items["title"][data.item_ids.index(event["item_id"])].as_py()
        run.steps.say(f"  clicked: {one_line(title or event['item_id'])}")
    rows = [
        [item["title"] or item["item_id"], item["reason"] or "", f"{item['score']:.3f}"]
        for item in answer["items"]
    ]
    run.steps.say(text_table(["title", "reason", "score"], rows) + "\n")


def _farewell(root: Path, trained: Trained, request: dict[str, Any], steps: Steps) -> None:
    body, commands = json.dumps(request), _commands()
    steps.say("The same by hand:")
    steps.say(f"  {commands}{command_line('recsys serve', root, port=8000)}")
    steps.say(f"  curl -s localhost:8000/v1/recommend -H 'content-type: application/json' -d {quote(body)}")
    steps.say(f"The run {trained.run_id} in the MLflow UI (then open http://127.0.0.1:5000):")
    steps.say(f"  {commands}mlflow ui --backend-store-uri {quote(tracking_uri())}")
    steps.say("Seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps.seconds.items()))


def _commands() -> str:
    """What to write before a command of this environment: nothing where the shell finds it."""
    return "" if which("recsys") else os.path.relpath(Path(sys.executable).parent) + "/"
