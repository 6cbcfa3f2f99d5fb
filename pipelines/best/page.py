"""The page of a search for the best: what was chosen, why, what it costs, and what more time would likely
give."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from recsys.evaluation.significance import FEW_USERS
from recsys.pipelines.best.choice import CLUMPS, DRAWN
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.result import Asked, Best, Choice
from recsys.retrieval.embeddings import Embeddings
from recsys.text import command_line

_SHOWN = 25
_DRAWN_AS = {CLUMPS: "drawn in clumps, like a stretch of time", DRAWN: "drawn at random"}
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 2rem auto;
  max-width: 56rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.figure, th.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
td:first-child { min-width: 12rem; overflow-wrap: break-word; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
@media print { body { margin: 0; } }
"""


def page(best: Best, asked: Asked) -> str:
    """The search as one HTML file without external parts."""
    whole = _whole(best)
    title, name = best.title, best.title.partition(",")[0]
    sections = [
        f"<h1>The best for {escape(name)}</h1>",
        f"<p>{escape(title)}. {escape(' '.join(best.facts.describe()))}</p>",
        *(f"<p>{escape(sentence)}</p>" for sentence in sentences(best, asked)),
        f"<pre>{escape(_commands(best))}</pre>",
        "<h2>The test part, read once</h2>",
        f'<div class="wide"><pre>{escape(best.trained.table)}</pre></div>',
        "<h2>The best figure over time</h2>",
        _curve(whole, best.seconds, asked.metric),
        "<h2>What was tried</h2>",
        f'<div class="wide">{_table(whole, asked.metric)}</div>',
        "<h2>Where the time went</h2>",
        _time(best.tried),
        *_both_parts(best.choice),
        *_left_out(best),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(name)}</title><style>{_STYLE}</style>'
    )
    body = "".join(sections)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def sentences(best: Best, asked: Asked) -> list[str]:
    """Sentences on the result, the most important first."""
    choice, winner = best.choice, best.choice.winner
    figure = f"On validation {asked.metric} is {winner.mean:.4f} (standard error {winner.error:.4f})."
    lines = [f"Chosen: {winner.label}. {figure}"]
    if (other := choice.runner_up) is not None:
        sure = abs(choice.gap) > 2 * choice.error
        chance = "more than two standard errors" if sure else "which may be chance"
        gap = f"{choice.gap:+.4f} against the next, {other.label}, with an error of {choice.error:.4f}"
        lines.append(f"That is {gap}, {chance}.")
    lines.append(_cost(best))
    lines.append(_more_time(best))
    if (people := len(best.trained.measured.warm)) < FEW_USERS:
        lines.append(f"Only {people} people were asked about: what is best for so few is hardly known.")
    counted = [one for one in _whole(best) if not one.vectors]
    if counted and counted[0].mean > winner.mean:
        name, mean = counted[0].label, counted[0].mean
        lines.append(
            f"{name} has {mean:.4f}, but it learns no vectors, so recsys can judge it and not publish it: "
            f"{winner.label} is the best of those that can be served."
        )
    return [*lines, *_short_of_time(best)]


def _short_of_time(best: Best) -> list[str]:
    """What more time would have been for, in a sentence; none where there was enough."""
    shortened = sum(one.lacked == "epochs" for one in best.passed)
    untried = sum(one.lacked == "all" for one in best.passed)
    parts = [f"{untried} models of the portfolio were not tried"] if untried else []
    parts += [f"{shortened} learned in fewer epochs"] if shortened else []
    return [f"For want of time {' and '.join(parts)}: --minutes gives more."] if parts else []


def _whole(best: Best) -> list[Tried]:
    """The models judged on everybody of the first part, the best first."""
    done = [one for one in best.tried if one.share == 1.0 and one.reason is None and not one.part]
    return sorted(done, key=lambda one: -one.mean)


def _cost(best: Best) -> str:
    learned = best.trained.measured.learned
    if not isinstance(learned, Embeddings):
        return "It learns no vectors, and no index serves it."
    items, dim = learned.items.shape
    return f"Its {items:,} item vectors of dim {dim} take {learned.items.nbytes / 1e6:,.1f} MB."


def _more_time(best: Best) -> str:
    """A sentence on what the second half of the time gained: about what as much again may gain."""
    whole = [one for one in _whole(best) if one.vectors]
    middle = best.seconds / 2
    early, top = [one.mean for one in whole if one.at <= middle], best.choice.winner
    if not early:
        return "All of the time went into the first models: more of it would let others be tried."
    gain = top.mean - max(early)
    if gain <= top.error:
        return (
            f"The second half of the time brought {gain:+.4f}, within a standard error: more time would "
            "bring little."
        )
    return f"The second half of the time brought {gain:+.4f}: as much again may bring more."


def _commands(best: Best) -> str:
    trained = best.trained
    logged = trained.bundle if trained.run_id is None else trained.run_id
    lines = [command_line("recsys train", "DATA", c=best.config)]
    if trained.bundle is not None and logged is not None:
        lines += [command_line("recsys export", logged), "recsys serve"]
    return "\n".join(lines)


def _table(whole: Sequence[Tried], metric: str) -> str:
    top = whole[0].mean if whole else 0.0
    head = "".join(
        f'<th class="figure">{escape(name)}</th>'
        for name in (metric, "error", "of the best", "seconds", "stage")
    )
    rows = "".join(
        f"<tr><td>{escape(one.label)}{'' if one.vectors else ' (no vectors)'}</td>"
        f'<td class="figure">{one.mean:.4f}</td><td class="figure">{one.error:.4f}</td>'
        f'<td class="figure">{one.mean / top if top else 1:.1%}</td><td '
        f'class="figure">{one.seconds:,.1f}</td><td class="figure">{escape(one.stage)}</td></tr>'
        for one in whole[:_SHOWN]
    )
    more = (
        f"<p>{len(whole) - _SHOWN} more stand in the JSON file beside this page.</p>"
        if len(whole) > _SHOWN
        else ""
    )
    return f"<table><thead><tr><th>model</th>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _curve(whole: Iterable[Tried], seconds: float, metric: str) -> str:
    """The best figure that an index could serve at each moment, as steps."""
    done = sorted((one for one in whole if one.vectors), key=lambda one: one.at)
    if not done:
        return "<p>Nothing was learned.</p>"
    best = np.maximum.accumulate([one.mean for one in done])
    end, top = max(seconds, done[-1].at, 1e-9), float(best[-1]) or 1.0
    low = min(float(best[0]), 0.9 * top)
    spread = (top - low) or 1.0

    def at(second: float, figure: float) -> str:
        return f"{60 + 720 * second / end:.1f} {170 - 140 * (figure - low) / spread:.1f}"

    steps, level = "M" + at(done[0].at, float(best[0])), float(best[0])
    for one, figure in zip(done[1:], best[1:], strict=True):
        steps += " L" + at(one.at, level) + " L" + at(one.at, float(figure))
        level = float(figure)
    steps += " L" + at(end, level)
    texts = [(55, 34, "end", f"{top:.4f}"), (55, 174, "end", f"{low:.4f}"), (60, 192, "start", "0 s")]
    marks = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="12">{text}</text>'
        for x, y, anchor, text in (*texts, (780, 192, "end", f"{end:,.0f} s"))
    )
    label = f"best {escape(metric)} by seconds, from {best[0]:.4f} to {top:.4f}"
    return (
        f'<svg viewBox="0 0 800 200" role="img" aria-label="{label}"><path d="M60 30 V170 H780" fill="none" '
        f'stroke="#999"/><path d="{steps}" fill="none" stroke="#0b5394" stroke-width="2"/>{marks}</svg>'
    )


def _time(tried: Sequence[Tried]) -> str:
    spent: dict[str, float] = {}
    for one in tried:
        spent[one.family] = spent.get(one.family, 0.0) + one.seconds
    top = max(spent.values(), default=1.0) or 1.0
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="figure">{seconds:,.0f} s</td><td style="width:50%">'
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" height="10" aria-hidden="true">'
        f'<rect width="{100 * seconds / top:.1f}" height="4" fill="#0b5394"/></svg></td></tr>'
        for name, seconds in sorted(spent.items(), key=lambda one: -one[1])
    )
    return f"<table>{rows}</table>"


def _both_parts(choice: Choice) -> list[str]:
    """Where there are no times: how the finalists stand on the part that was searched and on another."""
    parts = list(dict.fromkeys(part for shares in choice.relative.values() for part in shares))
    if len(parts) < 2:
        return []
    head = "".join(f'<th class="figure">{escape(part)}</th>' for part in parts)
    rows = "".join(
        f"<tr><td>{escape(label)}</td>"
        + "".join(
            f'<td class="figure">{shares[part]:.1%}</td>' if part in shares else "<td></td>" for part in parts
        )
        + "</tr>"
        for label, shares in choice.relative.items()
    )
    tops = {
        part: max(choice.relative, key=lambda label: choice.relative[label].get(part, 0.0)) for part in parts
    }
    agree = len(set(tops.values())) == 1
    differing = "; ".join(f"{part}: {top}" for part, top in tops.items())
    verdict = "Both choose the same." if agree else f"They disagree: {differing}."
    return [
        "<h2>Two validation parts</h2>",
        "<p>There are no times to cut by. Of each finalist the share of the best figure: on the part that "
        f"was searched, {_DRAWN_AS[parts[0]]} as the test part seems to be, and on one "
        f"{_DRAWN_AS[parts[1]]}. The choice is by the first. {escape(verdict)}</p>",
        f"<table><thead><tr><th>model</th>{head}</tr></thead><tbody>{rows}</tbody></table>",
    ]


def _left_out(best: Best) -> list[str]:
    failed = [(one.label, one.reason) for one in best.tried if one.reason]
    lines = [(one.label, one.reason) for one in best.passed] + failed
    if not lines:
        return []
    rows = "".join(
        f"<tr><td>{escape(label)}</td><td>{escape(str(reason))}</td></tr>" for label, reason in lines
    )
    return ["<h2>What was not tried on everybody or as it is, or failed</h2>", f"<table>{rows}</table>"]
