"""One person of a test, for people and for machines: from a number in the report to the requests behind
it."""

from typing import Any

from recsys.analysis.trail import Trail
from recsys.text import text_table, utc_text

MOST = 200  # rows of each table on a terminal


def told_trail(trail: Trail) -> str:
    """Who they are, what they were shown, and what they did, row by row."""
    arm = "no one arm" if trail.arm is None else f"arm {trail.arm}"
    counts = "is analysed" if trail.counts else f"is not analysed: {trail.why}"
    window = (
        f"Their window: {utc_text(trail.starts)} to {utc_text(trail.ends)}."
        if trail.starts
        else "No window began."
    )
    parts = [f"{trail.unit} is in {arm} and {counts}. {window}"]
    names = sorted({name for one in trail.shown for name in one.names})
    rows = [
        [utc_text(one.second), one.arm, *(one.names.get(name, "") for name in names),
         "the window begins here" if one.first else one.said]
        for one in trail.shown
    ]  # fmt: skip
    parts.append(f"What they were shown:\n{_cut(['when', 'arm', *names, 'so it'], rows)}")
    rows = [
        [
            utc_text(one.second),
            one.event or "",
            "" if one.value is None else f"{one.value:g}",
            one.names.get("item", ""),
            _list(trail, one.shown, one.names.get("request")),
            one.said,
            ", ".join(one.metrics),
        ]
        for one in trail.done
    ]
    head = ["when", "event", "value", "item", "after the list", "so it", "in"]
    parts.append(
        f"What they did:\n{_cut(head, rows)}" if rows else "They did nothing that the outcomes know of."
    )
    figures = [
        [name, f"{over:g}", "" if under is None else f"{under:g}", f"{past:g}"]
        for name, (over, under, past) in trail.figures.items()
    ]
    parts.append("What that makes:\n" + text_table(["metric", "in the window", "per", "before"], figures))
    return "\n\n".join(parts)


def _list(trail: Trail, shown: int | None, request: str | None) -> str:
    if request is None:
        return "names none"
    return (
        f"{request}, not theirs" if shown is None else f"{request} of {utc_text(trail.shown[shown].second)}"
    )


def _cut(head: list[str], rows: list[list[str]]) -> str:
    more = f"\n... and {len(rows) - MOST:,} more." if len(rows) > MOST else ""
    return text_table(head, rows[:MOST]) + more


def plain_trail(trail: Trail) -> dict[str, Any]:
    """The trail of a person as plain data, for JSON."""
    return {
        "unit": trail.unit,
        "arm": trail.arm,
        "counts": trail.counts,
        "why": trail.why or None,
        "window": [trail.starts, trail.ends] if trail.starts else None,
        "shown": [one._asdict() for one in trail.shown],
        "done": [one._asdict() for one in trail.done],
        "figures": {
            name: dict(zip(("window", "per", "before"), figures, strict=True))
            for name, figures in trail.figures.items()
        },
    }
