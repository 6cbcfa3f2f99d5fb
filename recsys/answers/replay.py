"""What was served, asked again: one list traced to its bundle, or a log of questions put to a challenger."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from recsys.answers.exposure import SCHEMA, question_of
from recsys.answers.question import Event, Question, Suggestion
from recsys.answers.recipe import recipe_of_line
from recsys.answers.respond import answer
from recsys.bundle.bundle import Bundle
from recsys.errors import DataError, RequestError
from recsys.events.address import is_event_store, open_store
from recsys.progress import Progress, Step, silent
from recsys.text import text_table

TOLERANCE = 1e-6  # of a score, relative to the largest of its list: other processors add up in another order
_SEGMENTS = ("source", "domain", "placement", "experiment", "arm", "segment")
_EVERY = 100  # questions between two looks at the progress


class Traced(NamedTuple):
    """A served list and the same question asked again. items: as answered now, with titles and reasons.

    identical: the same items in the same order. furthest: as in `furthest`.
    """

    line: Mapping[str, Any]
    items: list[Suggestion]
    identical: bool
    furthest: float

    @property
    def same(self) -> bool:
        return self.furthest <= TOLERANCE


def trace(bundle: Bundle, line: Mapping[str, Any], others: Mapping[str, Bundle] | None = None) -> Traced:
    """A line of the log beside what its bundle answers to the same question at the same moment. others: the
    further bundles that a merged list is of, by id."""
    opened = {**(others or {}), bundle.bundle_id: bundle}
    recipe = recipe_of_line(line, opened.__getitem__)
    reply = recipe.make(question_of(line, reasons=len(line["items"])), line["request_id"]).reply()
    now = [(item.item_id, item.score) for item in reply.items]
    identical = [item for item, _ in now] == line["items"]
    distance = furthest(
        now, list(zip(line["items"], line["scores"], strict=False))
    )  # of a line cut short, too
    return Traced(line, reply.items, identical, distance)


def furthest(now: Sequence[tuple[str, float]], then: Sequence[tuple[str, float]]) -> float:
    """How far the scores of two lists of (item id, score) lie apart: the largest difference, place by place
    and item by item, in shares of the largest score of `then`; infinite where their lengths differ.

    Items whose scores tie stand in either order, and the last place is either's: how many threads add up
    decides it. So an item of one list alone is held against the lowest score of the other.
    """
    if len(now) != len(then):
        return np.inf
    if not then:
        return 0.0
    new, old = dict(now), dict(then)
    either = new | old
    first = [*new.values(), *(new.get(item, min(new.values())) for item in either)]
    second = [*old.values(), *(old.get(item, min(old.values())) for item in either)]
    differences = np.abs(np.array(first, np.float32) - np.array(second, np.float32))
    return float(differences.max() / max(*map(abs, old.values()), 1e-12))


class Asked(NamedTuple):
    """A question of yesterday, the list that it got, and what is known of both by the names of segments."""

    question: Question
    items: Sequence[str]
    source: str | None
    ms: float | None
    segments: Mapping[str, str]


def read_log(path: Path) -> Iterator[Asked]:
    """The questions of an event store (`events:`), of an exposure log, or of another system's log with the
    columns of docs/serving.md.

    Lines that do not parse are passed over: a crash tears one. Raises DataError on a line that holds no
    question.
    """
    for number, line in _lines_of(path):
        told = {name: str(value) for name in _SEGMENTS if (value := line.get(name)) is not None}
        if line.get("schema") == SCHEMA:
            question = question_of(line)
            told |= {"domain": question.domain} if question.domain is not None else {}
            yield Asked(question, line["items"], line["source"], line["ms"], told)
        elif "schema" in line:
            continue  # of an older version: it does not hold the question
        else:
            yield Asked(
                _foreign_question(path, number, line), line["items"], line.get("source"), line.get("ms"), told
            )


@dataclass
class Tally:
    """What two systems gave to the same questions. people: user ids, or questions of nobody known."""

    requests: int = 0
    overlap: float = 0.0
    people: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    short: list[int] = field(default_factory=lambda: [0, 0])
    empty: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, person: str, k: int, before: Sequence[str], after: Sequence[str]) -> None:
        self.requests += 1
        self.people.add(person)
        longest = max(len(before), len(after))
        self.overlap += len(set(before) & set(after)) / longest if longest else 1.0
        if list(before) != list(after):
            self.changed.add(person)
        for at, items in enumerate((before, after)):
            self.short[at] += len(items) < k
            self.empty[at] += not items

    def row(self) -> dict[str, Any]:
        """The figures as a row. overlap: mean share of the items of a list that the other system lists,
        too."""
        return {
            "requests": self.requests,
            "people": len(self.people),
            "overlap": self.overlap / self.requests,
            "people_with_other_lists": len(self.changed) / len(self.people),
            "short": self.short,
            "empty": self.empty,
        }


def replay(
    bundle: Bundle, asked: Iterable[Asked], limit: int | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Puts questions to a bundle and compares its lists with those that were served: over all, and by
    segment.

    sources, latency_ms: before and after; a latency is that of the answer alone, without HTTP. refused:
    questions that the bundle cannot answer, which are left out. Raises DataError where there is no question.
    """
    every, segments = Tally(), dict[tuple[str, str], Tally]()
    sources: tuple[dict[str, int], dict[str, int]] = ({}, {})
    spent: tuple[list[float], list[float]] = ([], [])
    refused = 0
    for number, one in enumerate(asked):
        if number == limit:
            break
        start = time.perf_counter()
        try:
            again = answer(bundle, one.question)
        except RequestError:
            refused += 1
            continue
        spent[1].append((time.perf_counter() - start) * 1e3)
        spent[0].extend([] if one.ms is None else [one.ms])
        for counts, source in zip(sources, (one.source or "unknown", again.source), strict=True):
            counts[source] = counts.get(source, 0) + 1
        person = f"user {one.question.user_id}" if one.question.user_id is not None else f"request {number}"
        for tally in (every, *(segments.setdefault(place, Tally()) for place in one.segments.items())):
            tally.add(person, one.question.k, one.items, again.item_ids)
        if number % _EVERY == 0:
            progress(Step("asking", number, limit or 0))
    if not every.requests:
        raise DataError(
            "the log holds no question that can be asked again; exposure logs hold them from schema 2 on."
        )
    return {
        "bundle": bundle.bundle_id,
        **every.row(),
        "refused": refused,
        "sources": {"before": sources[0], "after": sources[1]},
        "latency_ms": {"before": _quantiles(spent[0]), "after": _quantiles(spent[1])},
        "segments": [
            {"segment": name, "value": value, **tally.row()}
            for (name, value), tally in sorted(segments.items())
        ],
    }


def replay_text(result: Mapping[str, Any]) -> str:
    """The figures of `replay` as text."""
    rows = [{"segment": "all", "value": "", **result}, *result["segments"]]
    header = [
        "segment",
        "value",
        "requests",
        "people",
        "overlap",
        "people with other lists",
        "short",
        "empty",
    ]
    cells = [
        [
            str(row["segment"]),
            str(row["value"]),
            f"{row['requests']:,}",
            f"{row['people']:,}",
            f"{row['overlap']:.3f}",
            f"{row['people_with_other_lists']:.1%}",
            *(f"{row[name][0]:,} -> {row[name][1]:,}" for name in ("short", "empty")),
        ]
        for row in rows
    ]
    counts = [
        ", ".join(f"{name} {n:,}" for name, n in sorted(result["sources"][at].items()))
        for at in ("before", "after")
    ]
    after, before = result["latency_ms"]["after"], result["latency_ms"]["before"]
    times = f"{after['p50']:.2f} ms, p99 {after['p99']:.2f}" + (
        f" (logged: {before['p50']:.2f} ms, p99 {before['p99']:.2f})" if before else ""
    )
    refused = (
        f"\n{result['refused']:,} questions were refused by this bundle and are left out."
        if result["refused"]
        else ""
    )
    return f"{text_table(header, cells)}\nsources: {counts[0]} -> {counts[1]}\nanswer: p50 {times}{refused}"


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    return {f"p{share}": float(np.percentile(milliseconds, share)) for share in (50, 99)}


def _lines_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of each line that is a JSON object."""
    if is_event_store(path):
        yield from ((number, orjson.loads(text)) for number, text in open_store(path).exposures())
        return
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = orjson.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield number, line
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Name an exposure log, or JSON lines."
        ) from None


def _foreign_question(path: Path, number: int, line: Mapping[str, Any]) -> Question:
    """The question of a line that another system wrote."""
    items, history = line.get("items"), line.get("history") or ()
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(
            f"{path} line {number}: `items` must be a list of the ids served, best first, as texts."
        )
    try:
        events = [
            Event(one) if isinstance(one, str) else Event(one["item_id"], one.get("timestamp"))
            for one in history
        ]
        moment = line.get("timestamp")
        return Question(
            None if line.get("user_id") is None else str(line["user_id"]),
            events,
            int(line.get("k") or max(len(items), 1)),
            line.get("domain"),
            line.get("deny") or (),
            line.get("allow"),
            None if moment is None else int(moment),
            line.get("features"),
            reasons=0,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{path} line {number} is no question: user_id is a text, history a list of ids or of objects "
            f"with item_id and timestamp, timestamp unix seconds, k a whole number."
        ) from None
