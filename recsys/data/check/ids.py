"""Ids that a tool has spoilt, and ids that do not meet: a word for nobody, 7.0 beside 7, tables that share no
id.

Each function takes distinct ids as an Arrow array of text and returns warnings: whatever the ids are, they
can be read.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import Array, Bool
from recsys.data.check.findings import Finding, rows, whole
from recsys.data.dataset import TEST, TRAIN

# Words that tools write where there is no id; those of the second list may be somebody's, unless they have
# many events.
_NOBODY = (
    "null",
    "none",
    "nan",
    "nil",
    "n/a",
    "#n/a",
    "<na>",
    "nat",
    "undefined",
    r"\n",
    "(null)",
    "(none)",
    "[null]",
    "(not set)",
    "not set",
    "00000000-0000-0000-0000-000000000000",
    "-1",
)
_PERHAPS_NOBODY = ("na", "unknown", "anonymous", "anon", "guest", "missing", "default", "test", "0", "-", "?")
_MANY_TIMES, _MANY_SHARE = 3, 0.05  # as many events as this makes a word of the second list one for nobody
_DECIMALS = r"^[-+]?\d+\.0+$"
_ROUNDED = r"^\d(\.\d+)?[eE]\+\d+$"
_MOST_UNMET, _MOST_OTHERS = 10_000, 1_000_000  # ids that are tried in another form


class Form(NamedTuple):
    """A way to write ids alike, and how a sentence ends that says that ids would meet so."""

    said: str
    write: Callable[[pa.Array], pa.Array]


_FORMS = (
    Form("without blanks around them", pc.utf8_trim_whitespace),
    Form("without decimals", lambda ids: pc.replace_substring_regex(ids, r"^([-+]?\d+)\.0+$", r"\1")),
    Form("without leading zeros", lambda ids: pc.replace_substring_regex(ids, r"^0+(\d)", r"\1")),
    Form("without quotes", lambda ids: pc.replace_substring_regex(ids, r"""^['"]+|['"]+$""", "")),
    Form("in small letters", pc.utf8_lower),
    Form(
        "without dashes and braces", lambda ids: pc.utf8_lower(pc.replace_substring_regex(ids, r"[-{}]", ""))
    ),
    Form("in one form of Unicode", lambda ids: pc.utf8_normalize(ids, "NFC")),
    Form(
        "without what stands before the number",
        lambda ids: pc.replace_substring_regex(ids, r"^\D+(\d+)$", r"\1"),
    ),
)


def odd_ids(code: Array, names: pa.Array, column: str, who: str) -> list[Finding]:
    """Ids with blanks around them, numbers that went through floating point, and words for nobody.

    code: int32 (n,), index into `names`, -1 = missing. who: "user" or "item".
    """
    if not len(names):
        return []
    decimal, rounded = (pc.match_substring_regex(names, pattern) for pattern in (_DECIMALS, _ROUNDED))
    padded = pc.not_equal(pc.utf8_trim_whitespace(names), names)
    findings: list[Finding] = []
    for kind, flags, said, fix in (
        ("padded_id", padded, "an id with blanks around it", "Trim the column: ' 7' and '7' are two ids."),
        ("decimal_id", decimal, "a whole number with decimals for an id, such as {0!r}",
         (
             "A column with gaps went through floating point: write whole numbers, for '7.0' and '7' are "
             "two ids."
)),
        ("rounded_id", rounded, "a rounded number for an id, such as {0!r}",
         "Export the column as text: several ids may have become one."),
    ):  # fmt: skip
        wrong = _mask(flags)
        if wrong.any():
            example = names[int(np.argmax(wrong))].as_py()
            findings += rows(
                "warning", kind, column, np.append(wrong, False)[code], said.format(example), fix
            )
    return findings + _nobody(code, names, column, who)


def _nobody(code: Array, names: pa.Array, column: str, who: str) -> list[Finding]:
    """Words that stand for no user, or no item, each a finding of its own."""
    lower = pc.utf8_lower(names)
    surely, perhaps = (np.flatnonzero(_is_in(lower, pa.array(words))) for words in (_NOBODY, _PERHAPS_NOBODY))
    if len(surely) and pc.sum(pc.match_substring_regex(names, r"^-\d+$")).as_py() > 1:
        surely = surely[[names[int(at)].as_py() != "-1" for at in surely]]  # one of many numbers below 0
    findings = []
    for at in (*surely.tolist(), *perhaps.tolist()):
        mask = code == at
        count = int(np.count_nonzero(mask))
        if at in perhaps and count < max(_MANY_TIMES * len(code) / len(names), _MANY_SHARE * len(code)):
            continue
        said = (
            f"{names[at].as_py()!r} for an id, which tools write where there is none: they count as one {who}"
        )
        fix = f"Drop these rows, or write the {who} that they belong to."
        findings += rows("warning", "nobody_id", column, mask, said, fix)
    return findings


def unmet(ids: pa.Array, others: pa.Array, column: str, who: str, table: str) -> list[Finding]:
    """How many of the ids of the events are not in a table of items or users, with one of each side; none if
    all are.

    others: the distinct ids of `table`, as it is called in sentences. who: "item" or "user".
    """
    unknown = ~_is_in(ids, others)
    count = int(unknown.sum())
    if not count or not len(others):
        return []
    example, other, would = _beside(ids.filter(pa.array(unknown)), others, ids)
    if count == len(ids):
        said = (
            f"shares none of its {count:,} {who}s with the {who} table {table} ({example!r} here, "
            f"{other!r} there)"
        )
        fix = (
            f"{would}Write the ids alike in both, or call the column of the table that holds them {column!r}."
        )
        return [whole("warning", f"unmet_{who}_table", column, said, fix)]
    beside = "" if other is None else f" (that table has {other!r}, which has no event)"
    said = f"{who}s are not in the {who} table {table}, such as {example!r}{beside}"
    fix = f"{would}They have {'no title' if who == 'item' else 'no features'}; complete the table."
    return [Finding("warning", f"undescribed_{who}", column, count, len(ids), None, said, fix)]


def unmet_parts(code: Array, names: pa.Array, part: Array, column: str, who: str) -> list[Finding]:
    """How many users (or items) of the test part of a published split are not in what is learned from.

    code, part: (n,) parallel, of the events.
    """
    asked, learned = (
        np.bincount(code[where], minlength=len(names)) > 0 for where in (part == TEST, part != TEST)
    )
    if not asked.any() or not learned.any() or not (part == TRAIN).any():
        return []
    new = names.filter(pa.array(asked & ~learned))
    if not len(new):
        return []
    fate = "are answered as strangers" if who == "user" else "can never be hit"
    if len(new) == int(asked.sum()):
        example, other, would = _beside(new, names.filter(pa.array(learned)), new)
        said = f"shares none of the {len(new):,} {who}s of its test part with train"
        said += f" ({example!r} in test, {other!r} in train)"
        fix = f"{would}All of them {fate}: write the ids alike in both parts."
        return [whole("warning", f"unmet_test_{who}s", column, said, fix)]
    said = f"{who}s of the test part are not in train, such as {new[0].as_py()!r}"
    return [
        Finding("warning", f"new_test_{who}", column, len(new), int(asked.sum()), None, said, f"They {fate}.")
    ]


def described_twice(code: Array, names: pa.Array, column: str, who: str) -> list[Finding]:
    """A finding about rows that describe an item, or user, which an earlier row describes. code: index into
    `names`."""
    again = np.ones(len(code), bool)
    again[np.unique(code, return_index=True)[1]] = False
    again &= code >= 0
    if not again.any():
        return []
    example = names[int(code[np.argmax(again)])].as_py()
    said = f"an {who} that an earlier row describes, such as {example!r}".replace("an user", "a user")
    return rows(
        "error", "described_twice", column, again, said, f"Describe each {who} once; drop the other rows."
    )


def _beside(unknown: pa.Array, others: pa.Array, ids: pa.Array) -> tuple[str, str | None, str]:
    """One of the unknown ids, one of the others that is none of `ids`, and the form of both in which most of
    the unknown ones would meet, as the beginning of a sentence; "" for none. The two are one id, where there
    is a form."""
    some, best, met = unknown[:_MOST_UNMET], None, 0
    for form in _FORMS if len(others) <= _MOST_OTHERS else ():
        count = int(_is_in(form.write(some), form.write(others)).sum())
        if count > met:
            best, met = form, count
    if best is not None:
        place = pc.index_in(best.write(some), best.write(others))
        at = int(np.argmax(_mask(pc.is_valid(place))))
        return (
            some[at].as_py(),
            others[place[at].as_py()].as_py(),
            f"{met:,} of these would meet {best.said}. ",
        )
    alone = ~_is_in(others, ids)
    return unknown[0].as_py(), others[int(np.argmax(alone))].as_py() if alone.any() else None, ""


def _is_in(values: pa.Array, known: pa.Array) -> Bool:
    return _mask(pc.is_in(values, known.cast(values.type)))


def _mask(flags: pa.Array) -> Bool:
    return np.asarray(flags.to_numpy(zero_copy_only=False), bool)
