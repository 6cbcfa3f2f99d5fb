"""Would switching to ours have been better, night by night? The end of a log, replayed against the usual
system.

    python -m benchmarks.incumbent --work FOLDER --set-up           makes its environment, once
    RECSYS_DATA=... python -m benchmarks.incumbent --work FOLDER    all logs, an hour
    ... --only ml-100k                                              this log; the other rows stay
    ... --member item2vec                                           with this learner beside

The end of a log is cut into seven equal periods. Both systems are tuned once, on the part just before them,
with as many trials; then both learn anew each night from all events before it, and answer everybody who acts
until the next. The systems are those of `benchmarks.incumbent_systems`. What was settled and answered lies in
FOLDER, so that a run which was cut off goes on where it stopped.
"""

import json
import os
import subprocess
import venv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.incumbent_systems import (
    GOAL,
    MEMBERS,
    SEED,
    SYSTEMS,
    ImplicitALS,
    Incumbent,
    OurALS,
    Ours,
    System,
    tune_system,
)
from benchmarks.results import read_rows, report
from recsys.arrays import F64, I32, I64, Ragged, distinct
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.significance import FEW_USERS, Interval, bootstrap, p_text, paired_p
from recsys.history import DAY_S, Histories
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare, read_data
from recsys.pipelines.run.settings import load_settings
from recsys.progress import silent
from recsys.retrieval.ranker import Answer

NIGHTS = 7
METRICS = ("recall_at_20", GOAL)
CLICKS = (1, 2, 4)
OURS, THEIRS, TUNED = Ours.name, Incumbent.name, "tuned before"
_METHOD = """The end of each log in seven equal periods. Before it both systems are tuned on the part just
before; then both learn anew before each period, from all earlier events, and rank all items for everybody
who acts in it, by what they know of them then: items that are new to the person count, and what the person
had is never answered. The incumbent: implicit's ALS with the best of 30 trials for factors, regularization,
alpha, iterations and choice of row or `recalculate_user`, and the popularity of 7 days for whoever it does
not know. Ours: `recsys tune` of als (18 trials), variational (6; 3 on the two largest logs) and a mixture of
both with popularity (6; 4; of those within one standard error of the best, the one that leans least on what
is added), the best on the validation part, and the window of popularity that is best there. One thread each.
A person counts once, with the mean of their nights; 95 % bootstrap interval, paired t-test, not corrected
for the number of rows. `after n clicks`: whoever makes their n-th event in a period, asked right then,
folded in by both. `later`: halfway through what a person does in a period; freshness is the answer by all
that they had done by then, against that by what was known at night. Learner, mixing, popularity: our als
with the incumbent's popularity against the incumbent, and ours against our als. Settings and single nights:
[night by night](incumbent_nights.md)."""
_COMMAND = "`RECSYS_DATA=... python -m benchmarks.incumbent --work FOLDER`."
PEER = "implicit==0.7.3"
ALL = "all"
PEOPLE = {ALL: "everybody", "cold": "new people", "warm": "returning people"}  # segments in words
Row = dict[str, Any]
Key = tuple[str, str, str]  # occasion, segment, metric
Answered = tuple[str, str]  # a system and an occasion


class Log(NamedTuple):
    """A log to replay. days: of its end. tuned_on: so many periods before them are the part to tune on.
    settings: of the run, beside the data."""

    name: str
    days: int
    tuned_on: int = 2
    settings: tuple[str, ...] = ()


LOGS = (
    Log("ml-100k", 84, tuned_on=4),  # few people return in a period
    Log("world", 28, settings=("world.users=8000", "world.items=3000")),
    Log("abxi-abe", 180),
    Log("poi-gowalla", 28),
)


class Question(NamedTuple):
    """What is asked on one occasion. person: int32 (n,), who asks, as the data number them. targets: n
    rows."""

    person: I32
    users: Users
    targets: Ragged


class Night(NamedTuple):
    """What a system may learn from when it is learned, and what it is asked until the next night, by
    occasion."""

    past: Dataset
    questions: Mapping[str, Question]


AT_NIGHT, STALE, FRESH = "at night", "later, known as at night", "later, known as then"


def night_of(data: Dataset, start: int, period_s: int) -> Night:
    """The night at a unix second; its split is audited as any split by time, and a leak is an error."""
    settings = SplitSettings(kind="global_time", test_from=_utc(start), test_days=period_s / DAY_S)
    holdout = split(data, settings, seed=SEED).test
    return Night(holdout.train, questions(data, holdout, start + period_s))


def moments(data: Dataset, days: int) -> list[tuple[int, int]]:
    """The unix second of each night, and the seconds until the next."""
    time = data.interactions.time
    assert time is not None
    period_s = days * DAY_S // NIGHTS
    first = int(time[-1]) + 1 - NIGHTS * period_s
    return [(first + night * period_s, period_s) for night in range(NIGHTS)]


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def questions(data: Dataset, holdout: Holdout, until: int) -> dict[str, Question]:
    """What people are asked between a night and `until`, always for items that are new to them.

    AT_NIGHT: everybody who acts, known as they were at night. FRESH: those who act at two moments or more,
    halfway, known as they are then; STALE: the same, known as at night. After 1, 2 and 4 clicks: whoever has
    just made so many in all, known by these.
    """
    time = data.had.time
    assert time is not None
    assert holdout.now is not None
    to_the_end = data.had.where(slice(0, int(np.searchsorted(time, until)))).histories()
    before = np.bincount(data.had.user[: np.searchsorted(time, holdout.now)], minlength=data.n_users)
    known = holdout.train.interactions.user_counts() > 0
    halfway = np.array([_halfway(to_the_end, user, int(count)) for user, count in enumerate(before)])
    later = np.flatnonzero(halfway > before).astype(np.int32)
    fresh = _question(data, to_the_end, later, halfway[later], known, before)
    stale = fresh.users.history.keep(
        _places(fresh.users.history) < np.repeat(before[fresh.person], fresh.users.history.lengths)
    )
    by_occasion = {
        AT_NIGHT: Question(holdout.user, users_of(holdout), holdout.targets),
        FRESH: fresh,
        STALE: fresh._replace(users=Users.of_rows(fresh.users.index, stale, fresh.users.now)),
    }
    for clicks in CLICKS:
        made = np.flatnonzero((before < clicks) & (to_the_end.lengths > clicks)).astype(np.int32)
        by_occasion[after(clicks)] = _question(
            data, to_the_end, made, np.full(len(made), clicks), known, before
        )
    return by_occasion


def after(clicks: int) -> str:
    return f"after {clicks} click{'s' if clicks > 1 else ''}"


def _places(past: Histories) -> I64:
    """int64 (nnz,): the place of each event in its history, the oldest 0."""
    return np.arange(len(past)) - np.repeat(past.items.offsets[:-1], past.lengths)


def _halfway(past: Histories, user: int, before: int) -> int:
    """How many events a user has at the middle one of the moments after their first `before` events; `before`
    where there are not two moments. Events of one moment stay together."""
    start, stop = past.items.offsets[user : user + 2]
    assert past.time is not None
    later = past.time[start + before : stop]
    different = np.unique(later)
    return (
        before + int(np.searchsorted(later, different[len(different) // 2])) if len(different) > 1 else before
    )


def _question(data: Dataset, whole: Histories, user: I32, count: I64, known: Any, before: I64) -> Question:
    """What users are asked once they have made `count` events (n,): who has nothing new left is not asked.

    before: (n_users,) events up to the night; known: (n_users,) who was learned from then.
    """
    rows = whole.take(user)
    early = _places(rows) < np.repeat(count, rows.lengths)
    history, later = rows.keep(early), rows.keep(~early)
    wanted, had = distinct(later.items, data.n_items), distinct(history.items, data.n_items)
    keys, old = (one.row_of_value() * data.n_items + one.values for one in (wanted, had))
    wanted = wanted.keep(~np.isin(keys, old, assume_unique=True))
    some = np.flatnonzero(wanted.lengths)
    user, history, later = user[some], history.take(some), later.take(some)
    now = None if later.time is None else later.time[later.items.offsets[:-1]]
    index = np.where(known[user], user, -1).astype(np.int32)
    users = Users(index, history, now, fresh=np.asarray(count[some] > before[user]))
    return Question(user, users, wanted.take(some))


class _Asked(NamedTuple):
    """A system as evaluation asks it."""

    system: System
    n_items: int

    def recommend(self, users: Users, k: int, *, among: Ragged | None = None) -> Answer:
        return self.system.answer(users, k)


class Answers(NamedTuple):
    """Of one system and log. values: by (occasion, segment, metric), float64 (n, 3): person, night and value
    of each question. cpu_s: CPU seconds of each night's learning."""

    values: Mapping[Key, F64]
    cpu_s: Sequence[float]

    def by_person(self, key: Key, night: int | None = None) -> F64:
        """float64 (persons,): the mean of each person's values, of one night or of all; NaN for whoever has
        none."""
        person, at, value = self.values[key].T
        n = int(person.max(initial=-1)) + 1
        some = np.ones(len(person), bool) if night is None else at == night
        sums, counts = (np.bincount(person[some].astype(int), one, n) for one in (value[some], None))
        means: F64 = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
        return means


def replay_nights(system: System, data: Dataset, days: int, steps: Steps, folder: Path) -> Answers:
    """What a system answers on all nights; a night that lies in the folder is not learned again."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[Key, list[F64]] = {}
    cpu_s = []
    for number, (start, period_s) in enumerate(moments(data, days), 1):
        file = folder / f"night-{number}.npz"
        if not file.exists():
            with steps.step(f"{data.name}, {system.name}, night {number}"):
                night = night_of(data, start, period_s)
                system.learn(night.past)
                judged: dict[str, Any] = {"|".join(key): one for key, one in _judge(system, night)}
                np.savez(file, cpu_s=system.cpu_s, **judged)
        with np.load(file) as arrays:
            cpu_s.append(float(arrays["cpu_s"]))
            for name in arrays.files:
                if name != "cpu_s":
                    occasion, segment, metric = name.split("|")
                    one = np.insert(arrays[name], 1, number, axis=1)
                    values.setdefault((occasion, segment, metric), []).append(one)
    return Answers({key: np.concatenate(parts) for key, parts in values.items()}, cpu_s)


def _judge(system: System, night: Night) -> Iterator[tuple[Key, F64]]:
    """Each key with float64 (n, 2): the persons to whom it applies, and their values."""
    facts, asked = facts_of(night.past), _Asked(system, night.past.n_items)
    for occasion, question in night.questions.items():
        if not len(question.person):
            continue
        figures = evaluate(asked, question.users, question.targets, metrics=METRICS, facts=facts)
        for segment, values in ({ALL: figures.values} | dict(figures.segments)).items():
            for metric, column in values.items():
                some = ~np.isnan(column)
                yield (occasion, segment, metric), np.stack([question.person[some], column[some]], axis=1)


def rows_of(log: str, answers: Mapping[str, Answers]) -> list[Row]:
    """The rows of a log: every system against the incumbent, ours by segment, and what comes from where."""
    return [
        {"log": log, "what": what, "of": f"{one[0]} - {other[0]}", "metric": metric} | compare_systems(*both)
        for what, segment, one, other in _questions(answers)
        for metric in METRICS
        if len(answers[one[0]].values.get((one[1], segment, metric), ()))
        for both in [
            [answers[name].by_person((occasion, segment, metric)) for name, occasion in (one, other)]
        ]
    ]


def _questions(answers: Mapping[str, Answers]) -> Iterator[tuple[str, str, Answered, Answered]]:
    """What is compared, in words; the segment; and twice who was asked, and when."""
    ours, theirs, alone = OURS, THEIRS, OurALS.name
    segments = {segment for occasion, segment, _ in answers[ours].values if occasion == AT_NIGHT} - {
        "head",
        "tail",
    }
    for segment in sorted(segments, key=lambda one: (one != ALL, one not in PEOPLE, one)):
        yield PEOPLE.get(segment, segment), segment, (ours, AT_NIGHT), (theirs, AT_NIGHT)
    for occasion in (*map(after, CLICKS), FRESH):
        yield occasion, ALL, (ours, occasion), (theirs, occasion)
    for other in [name for name in answers if name not in (ours, theirs)]:
        yield PEOPLE[ALL], ALL, (other, AT_NIGHT), (theirs, AT_NIGHT)
    yield "learner, als each: returning people", "warm", (alone, AT_NIGHT), (theirs, AT_NIGHT)
    yield "other learner and mixing: returning people", "warm", (ours, AT_NIGHT), (alone, AT_NIGHT)
    yield "popularity: new people", "cold", (ours, AT_NIGHT), (alone, AT_NIGHT)
    for name in (ours, theirs):
        yield f"freshness of {name}", ALL, (name, FRESH), (name, STALE)


def compare_systems(first: F64, second: F64) -> Row:
    """The first system against the second, (n,) one value per person each and NaN for whoever was not
    asked."""
    both = ~np.isnan(first)
    first, second = first[both], second[both]
    difference = bootstrap(first - second)
    return {
        "people": len(first),
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p": paired_p(first, second),
        "verdict": verdict(difference.low, difference.high, len(first)),
    }


def verdict(low: float, high: float, people: int) -> str:
    """In words, by the 95 % interval of the difference."""
    said = "better" if low > 0 else "WORSE" if high < 0 else "no gain shown"
    return said if people >= FEW_USERS else f"{said} ({people} people are few)"


def nightly(log: str, system: System, answers: Answers) -> Iterator[Row]:
    """What a system settled before the replay, and then a row for each night."""
    chosen = system.chosen
    yield {
        "log": log,
        "system": system.name,
        "night": TUNED,
        GOAL: chosen["validation"],
        "cpu_s": chosen["tuning_s"],
        "settled": json.dumps({key: chosen[key] for key in ("model", "days", "tried")}),
    }
    for night in range(1, NIGHTS + 1):
        means = {name: float(np.nanmean(answers.by_person((AT_NIGHT, ALL, name), night))) for name in METRICS}
        yield (
            {"log": log, "system": system.name, "night": str(night)}
            | means
            | {"cpu_s": answers.cpu_s[night - 1]}
        )


def replay(log: Log, work: Path, steps: Steps, members: Sequence[str] = ()) -> tuple[list[Row], list[Row]]:
    """The rows of a log, and those of its nights: of SYSTEMS, and of the members that are asked for or have
    been settled here before."""
    base = load_settings(
        None, [f"data={log.name}", "threads=1", f"experiment=incumbent-{log.name}", *log.settings]
    )
    _, data, _ = read_data(base, silent)
    first, period_s = moments(data, log.days)[0]
    parts = SplitSettings(
        kind="global_time", validation_from=_utc(first - log.tuned_on * period_s), test_from=_utc(first)
    )
    run = prepare(base.model_copy(update={"split": parts, "judge": "validation"}), steps)
    answers: dict[str, Answers] = {}
    by_night: list[Row] = []
    for make in (*SYSTEMS, *MEMBERS.values()):
        system, name = make(), f"{log.name}-{make.name.replace(' ', '-')}"
        asked = make in SYSTEMS or make in [MEMBERS[member] for member in members]
        if not asked and not (work / f"{name}.json").exists():
            continue
        tune_system(system, run, work / f"{name}.json")
        answers[system.name] = replay_nights(system, data, log.days, steps, work / name)
        by_night += nightly(log.name, system, answers[system.name])
    return rows_of(log.name, answers), by_night


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for what is kept on the way."
)
@click.option("--set-up", is_flag=True, help="Makes the incumbent's environment in the folder, with pip.")
@click.option(
    "--only", multiple=True, type=click.Choice([log.name for log in LOGS]), help="Only this log. Repeatable."
)
@click.option(
    "--member",
    "members",
    multiple=True,
    type=click.Choice(list(MEMBERS)),
    help="With this learner of the family of word2vec, or of sequences, beside. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only JSON objects.")
def main(work: Path, set_up: bool, only: tuple[str, ...], members: tuple[str, ...], as_json: bool) -> None:
    work = work.resolve()
    if set_up:
        venv.create(work / "implicit", with_pip=True, clear=True)
        subprocess.run([work / "implicit/bin/python", "-m", "pip", "install", "-q", PEER], check=True)
        return
    os.environ["RECSYS_HOME"] = str(work)
    ImplicitALS.python = work / "implicit" / "bin" / "python"
    steps = Steps(quiet=as_json)
    for log in LOGS:
        if not only or log.name in only:
            new = replay(log, work, steps, members)
            tables = (read_rows(name) for name in ("incumbent", "incumbent_nights"))
            rows, by_night = (put(log.name, *both) for both in zip(tables, new, strict=True))
            write(rows, by_night, as_json)


def put(log: str, old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The rows, with those of a log replaced, the logs in their order."""
    order = [one.name for one in LOGS]
    return sorted([*(row for row in old if row["log"] != log), *new], key=lambda row: order.index(row["log"]))


def write(rows: Sequence[Row], by_night: Sequence[Row], as_json: bool) -> None:
    """Both tables, with what they say in sentences above the first."""
    headings = (
        "log",
        "who, or from what",
        "a - b",
        "metric",
        "people",
        "a",
        "b",
        "a - b",
        "low",
        "high",
        "p",
        "",
    )
    columns = dict(zip(rows[0], headings, strict=True))
    report(
        "incumbent",
        rows,
        title="An incumbent, re-enacted",
        columns=columns,
        note=_note(rows, by_night),
        as_json=as_json,
    )
    report("incumbent_nights", by_night, title="An incumbent, re-enacted: night by night", as_json=as_json)


def _note(rows: Sequence[Row], by_night: Sequence[Row]) -> str:
    """What was done, the headline of each log, and every part in which ours is below."""
    of = [row for row in rows if row["of"] == f"{OURS} - {THEIRS}"]
    lines = []
    for log in dict.fromkeys(row["log"] for row in rows):
        said = "; ".join(
            f"{row['metric']} {_sentence(row)}"
            for row in of
            if (row["log"], row["what"]) == (log, PEOPLE[ALL])
        )
        cpu = " against ".join(f"{_cpu_minutes(by_night, log, name):.2g}" for name in (OURS, THEIRS))
        lines.append(f"- **{log}**, ours against the incumbent: {said}. CPU minutes of a night: {cpu}.")
    single = [row for row in rows if row["what"] == PEOPLE[ALL] and row not in of]
    for name, some in (("ours", of), ("single learners of ours", single)):
        below = [
            f"{row['log']}, {row['what'] if some is of else row['of']}, {row['metric']} {_sentence(row)}"
            for row in some
            if row["high"] < 0
        ]
        lines.append(f"- Significantly below the incumbent, {name}: {'; '.join(below) or 'nowhere'}.")
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return "\n".join([_METHOD, "", *lines, "", f"{_COMMAND} Load averages when this was written: {load}."])


def _sentence(row: Row) -> str:
    interval = Interval(row["difference"], row["low"], row["high"]).text("+.4f")
    return f"{row['first']:.4f} against {row['second']:.4f}, {interval}, {p_text(row['p'])}, {row['verdict']}"


def _cpu_minutes(by_night: Sequence[Row], log: str, system: str) -> float:
    """Of a night's learning, the median over the nights."""
    nights = [
        row["cpu_s"]
        for row in by_night
        if (row["log"], row["system"]) == (log, system) and row["night"] != TUNED
    ]
    return float(np.median(nights)) / 60


if __name__ == "__main__":
    main()
