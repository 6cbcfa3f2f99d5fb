"""Pieces of a page: text that cannot become markup, tables that stack on a phone, and how figures are
written."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

SEEN = {"ok": "✓", "sick": "✕", "not checked": "\N{EN DASH}"}
NONE = "\N{EN DASH}"  # an empty cell
STATE = "state"  # the heading of a column that stays on one line
Figure = Mapping[str, float] | None  # an interval: mean, low, high


def text(value: object) -> str:
    """Any text, fit to stand between tags or in an attribute; control characters are blanks."""
    return escape("".join(letter if letter.isprintable() else " " for letter in str(value)), quote=True)


def tag(name: str, inner: str, **attributes: str) -> str:
    """An element around markup; attributes are escaped here, `class_` is class, and `_` in a name is `-`."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{named}>{inner}</{name}>"


def paragraph(said: object, kind: str = "") -> str:
    return tag("p", text(said), **({"class_": kind} if kind else {}))


def list_terms(rows: Sequence[tuple[str, str]]) -> str:
    """Terms with what is said of each, as a description list; the second of a row is markup."""
    return tag("dl", "".join(f"<div>{tag('dt', text(term))}{tag('dd', said)}</div>" for term, said in rows))


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = (0,)
) -> str:
    """A table with a caption; cells are markup, and the first of a row names it. words: columns that are not
    figures.

    Each cell carries the heading of its column, which a narrow screen shows beside it.
    """
    kinds = ["state" if one == STATE else "word" if at in words else "figure" for at, one in enumerate(head)]
    top = "".join(
        tag("th", text(one), scope="col", class_=kind) for one, kind in zip(head, kinds, strict=True)
    )
    body = []
    for row in rows:
        cells = [tag("th", row[0], scope="row", class_=kinds[0], role="rowheader")]
        named = zip(row[1:], head[1:], kinds[1:], strict=True)
        cells += [
            tag("td", tag("span", cell or NONE), class_=kind, data_head=of, role="cell")
            for cell, of, kind in named
        ]
        body.append(tag("tr", "".join(cells), role="row"))
    inner = tag("caption", text(caption)) + tag("thead", f"<tr>{top}</tr>") + tag("tbody", "".join(body))
    return tag("table", inner, role="table")


def details(summary: str, inner: str) -> str:
    """A part that is folded on the screen and open on paper."""
    return tag("details", tag("summary", text(summary)) + inner)


def number(value: float | None, form: str = ".4g") -> str:
    return "" if value is None else text(f"{value:{form}}")


def count(value: int) -> str:
    return f"{value:,}"


def percent(value: float | None, *, sign: bool = False) -> str:
    """A share as percent, with as many digits as tell something."""
    if value is None:
        return ""
    size = abs(100 * value)
    return f"{100 * value:{'+' if sign else ''}.{0 if size >= 1000 else 1 if size >= 10 else 2}f} %"


def share(interval: Figure) -> str:
    """`+20.5 % (13.4 to 28.1)`; empty where there is none."""
    if interval is None:
        return ""
    mean, low, high = (100 * interval[key] for key in ("mean", "low", "high"))
    return nowrap(f"{mean:+.2f} %") + " " + nowrap(f"({low:+.2f} to {high:+.2f} %)")


def absolute(interval: Figure) -> str:
    if interval is None:
        return ""
    return (
        nowrap(f"{interval['mean']:+.4g}")
        + " "
        + nowrap(f"({interval['low']:+.4g} to {interval['high']:+.4g})")
    )


def nowrap(said: object) -> str:
    return tag("span", text(said), class_="whole")


def p_value(p: float | None) -> str:
    if p is None:
        return ""
    return "below .0001" if p < 0.0001 else f"{p:.4f}".lstrip("0") if p < 1 else "1"


def code(value: Any) -> str:
    """An id or a digest as code; it may break at any letter."""
    return tag("code", text(value))
