"""Text for people: tables that keep their shape whatever the cells hold, and what somebody may have meant."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import groupby
from shlex import join

WIDEST = 100  # characters of a cell
COLUMNS = 100  # characters of a line of a console
_LEAST = 24  # characters that a text keeps where a table is too wide
_CELLS = re.compile(r"(?<!\\)\|")  # the bars between cells, and not those in them


def one_line(text: str) -> str:
    """Text of the user's data, fit for a terminal: on one line, without control characters, cut after
    WIDEST."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return shown if len(shown) <= WIDEST else shown[: WIDEST - 1].rstrip() + "…"


def utc_text(second: int) -> str:
    """A unix second as people and machines read it: 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: figures to the right, words to the left.

    Whatever the cells hold, a row stays one row: bars are escaped, line breaks and control characters are
    blanks, and text beyond WIDEST characters is cut.
    """
    header, *rows = ([one_line(text).replace("|", "\\|") for text in row] for row in [header, *rows])
    columns = list(range(len(header)))
    widths = [max(len(row[at]) for row in [header, *rows]) for at in columns]
    figures = [all(row[at][:1] in set("+-0123456789") for row in rows) for at in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [(cell.rjust if figures[at] else cell.ljust)(widths[at]) for at, cell in enumerate(cells)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (widths[at] + 1) + (":" if figures[at] else "-") for at in columns) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def fit_tables(text: str, columns: int = COLUMNS) -> str:
    """The text with its tables (`text_table`) made to fit so many columns: long words are cut after the first
    column, then columns are left out from the right, which a line below the table says."""
    blocks = groupby(text.split("\n"), lambda line: line.startswith("|"))
    parts = [(is_table, list(lines)) for is_table, lines in blocks]
    return "\n".join(
        _fit_table(lines, columns) if is_table else "\n".join(lines) for is_table, lines in parts
    )


def _fit_table(lines: Sequence[str], columns: int) -> str:
    if max(map(len, lines)) <= columns or len(lines) < 3:
        return "\n".join(lines)
    header, _, *rows = (
        [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line)[1:-1]] for line in lines
    )
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]

    def excess() -> int:
        return sum(widths) + 3 * len(widths) + 1 - columns

    texts = [
        at for at in range(1, len(widths)) if any(row[at][:1] not in set("+-0123456789") for row in rows)
    ]
    for at in sorted(texts, key=lambda at: -widths[at]):
        least = max(_LEAST, len(header[at]))
        if (over := excess()) > 0 and widths[at] > least:
            widths[at] = max(least, widths[at] - over)
            for row in rows:
                row[at] = row[at] if len(row[at]) <= widths[at] else row[at][: widths[at] - 1].rstrip() + "…"
    left: list[str] = []
    while excess() > 0 and len(widths) > 2:
        left.insert(0, header[len(widths) - 1])
        del widths[-1]
    table = text_table(header[: len(widths)], [row[: len(widths)] for row in rows])
    said = f"Left out, for the width of {columns} columns (COLUMNS): {', '.join(left)}."
    return f"{table}\n{said}" if left else table


def command_line(command: str, *arguments: object, **options: object) -> str:
    """A command to be pasted into a shell: quoted, and with -- before arguments of which one begins with a
    dash.

    command: as it is typed, such as "recsys export". options: by their names without dashes.
    """
    words = list(map(str, arguments))
    named = [word for name, value in options.items() for word in _option(name.replace("_", "-"), str(value))]
    if any(word.startswith("-") for word in words):
        return join([*command.split(), *named, "--", *words])
    return join([*command.split(), *words, *named])


def _option(name: str, value: str) -> list[str]:
    """An option with its value, joined where the value would look like an option."""
    if len(name) == 1:
        return [f"-{name}{value}"] if value.startswith("-") else [f"-{name}", value]
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Which of the known names somebody may have meant by one that is not among them; None where none is
    alike."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one as a question, else all that are
    known."""
    names = list(known)
    near = nearest_name(name, names)
    return f"did you mean {near!r}?" if near else f"known ones are {', '.join(sorted(names)) or 'none'}."
