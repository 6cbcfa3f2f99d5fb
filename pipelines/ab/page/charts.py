"""The pictures of a report, as inline SVG: intervals beside each other, and an interval that moves with time.

Written by hand, so that the same figures are the same bytes whatever fonts and versions a machine has.
"""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from recsys.pipelines.ab.page.marks import Figure, tag, text

INK, LINE, GREY, BAND, MARK = "#1d1b16", "#1f4e8c", "#6b665c", "#c9d8ea", "#8a5a00"
WIDTH = 360.0  # units; a phone shows about as many pixels
_SIZE = 11


class Bar(NamedTuple):
    """A line of a forest plot; share in parts of the control, None = there is no interval."""

    label: str
    share: Figure


def forest(bars: Sequence[Bar], what: str, *, mark: float | None = None, marked: str = "") -> str:
    """Intervals below each other against no effect. mark: an effect to be marked, `marked` says what it
    is."""
    known = [one.share for one in bars if one.share is not None]
    if not known:
        return ""
    ends = [0.0, *([] if mark is None else [mark])]
    ends += [one[key] for one in known for key in ("low", "high")]
    ticks = _ticks(min(ends), max(ends))
    scale = _Scale(ticks[0], ticks[-1], 14, WIDTH - 14)
    row, top = 34, 8
    bottom = top + row * len(bars)
    parts = [_grid_x(scale, ticks, top, bottom)]
    if mark is not None:
        x = scale.at(mark)
        parts.append(_line(x, top, x, bottom, MARK, dashes="4 3"))
        anchor = "end" if x > WIDTH / 2 else "start"
        parts.append(_text(x, bottom + 28, marked, anchor=anchor, color=MARK))
    for at, (label, share) in enumerate(bars):
        y = top + row * at + 24
        parts.append(_text(14, y - 11, label))
        if share is not None:
            low, high, mean = (scale.at(share[key]) for key in ("low", "high", "mean"))
            parts.append(_line(low, y, high, y, LINE, 3))
            parts += [_line(end, y - 4, end, y + 4, LINE, 2) for end in (low, high)]
            parts.append(f'<circle cx="{mean:.1f}" cy="{y:.1f}" r="4.5" fill="{LINE}"/>')
    height = bottom + (34 if mark is not None else 20)
    said = "; ".join(f"{label}: {_describe_share(share)}" for label, share in bars)
    return _picture(parts, height, f"{what}. {said}.")


def series(labels: Sequence[str], shares: Sequence[Figure], what: str, x_name: str) -> str:
    """An effect with its interval at each of several times."""
    known = [one for one in shares if one is not None]
    if len(known) < 2:
        return ""
    # a first interval that is wider than all others by far is cut, so that the others can be seen
    spread = sorted(one["high"] - one["low"] for one in known)[len(known) // 2]
    middle = sorted(one["mean"] for one in known)[len(known) // 2]
    least = max(min(one["low"] for one in known), middle - 3 * spread)
    most = min(max(one["high"] for one in known), middle + 3 * spread)
    ticks = _ticks(min(0.0, least), max(0.0, most))
    bottom, top = 170.0, 10.0
    scale = _Scale(ticks[0], ticks[-1], bottom, top)
    left, right = 50.0, WIDTH - 12
    step = (right - left) / max(len(labels) - 1, 1)
    parts = []
    for value in ticks:
        y = scale.at(value)
        parts.append(_line(left, y, right, y, INK if value == 0 else "#ddd8cc", 1.2 if value == 0 else 1))
        parts.append(_text(left - 6, y + 4, _percent(value, ticks), anchor="end", color=GREY))
    for at, share in enumerate(shares):
        x = left + step * at
        if share is not None:
            low, high = (min(max(scale.at(share[key]), top), bottom) for key in ("low", "high"))
            parts.append(_line(x, low, x, high, BAND, 9))
            parts.append(
                _line(x - 5, low, x + 5, low, LINE, 1.5) + _line(x - 5, high, x + 5, high, LINE, 1.5)
            )
    dots = [(left + step * at, scale.at(one["mean"])) for at, one in enumerate(shares) if one is not None]
    dots = [(x, min(max(y, top), bottom)) for x, y in dots]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{LINE}"/>' for x, y in dots]
    every = max(1, ceil(len(labels) * max(map(len, labels)) * 6.5 / (right - left)))
    shown = range(0, len(labels), every)
    parts += [_text(left + step * at, bottom + 16, labels[at], anchor="middle", color=GREY) for at in shown]
    parts.append(_text((left + right) / 2, bottom + 32, x_name, anchor="middle", color=GREY))
    said = f"from {_describe_share(known[0])} at first to {_describe_share(known[-1])} at last"
    return _picture(parts, bottom + 38, f"{what}: {said}.")


class _Scale(NamedTuple):
    """From a figure to a place: `low` stands at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _ticks(low: float, high: float) -> list[float]:
    """Round figures from at most `low` to at least `high`, five or so."""
    if high <= low:
        low, high = low - 0.01, high + 0.01
    rough = (high - low) / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(at * step, 12) + 0.0 for at in range(first, last + 1)]


def _percent(value: float, ticks: Sequence[float]) -> str:
    places = 0 if all(abs(100 * one - round(100 * one)) < 1e-6 for one in ticks) else 1
    places = places if all(abs(1000 * one - round(1000 * one)) < 1e-6 for one in ticks) else 2
    return f"{100 * value:+.{places}f} %" if value else "0"


def _describe_share(share: Figure) -> str:
    if share is None:
        return "no figure"
    return f"{100 * share['mean']:+.2f} % ({100 * share['low']:+.2f} to {100 * share['high']:+.2f} %)"


def _grid_x(scale: _Scale, ticks: Sequence[float], top: float, bottom: float) -> str:
    parts = []
    for at, value in enumerate(ticks):
        x = scale.at(value)
        parts.append(_line(x, top, x, bottom, INK if value == 0 else "#ddd8cc", 1.2 if value == 0 else 1))
        anchor = "start" if at == 0 else "end" if at == len(ticks) - 1 else "middle"
        edge = x - 10 if at == 0 else x + 10 if at == len(ticks) - 1 else x
        parts.append(_text(edge, bottom + 14, _percent(value, ticks), anchor=anchor, color=GREY))
    return "".join(parts)


def _line(
    x: float, y: float, to_x: float, to_y: float, color: str, width: float = 1, dashes: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{width:g}"{dashed}/>'


def _text(x: float, y: float, said: str, *, anchor: str = "start", color: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"'
    return f"<text {place}>{text(said)}</text>"


def _picture(parts: Sequence[str], height: float, said: str) -> str:
    box = f"0 0 {WIDTH:g} {height:g}"
    inner = "".join(parts)
    drawn = f'<svg viewBox="{box}" role="img" aria-label="{text(said)}" font-size="{_SIZE}">{inner}</svg>'
    return tag("figure", drawn)
