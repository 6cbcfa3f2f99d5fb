"""Lists that were written as text: as JSON, as Python or numpy print them, or as a Postgres array."""

import ast
import json
import re
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.read.cells.plain import decode_column

_BRACKETS = r"^(\[[\s\S]*\]|\{[\s\S]*\})$"
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_TOKEN = re.compile(
    rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<bare>[^,\[\]{{}}\"'\s][^,\[\]{{}}\"]*))\s*(?P<end>,|$|(?=[\"']))"
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?\d+")
_NOTHING = {"none", "null", "nan"}


def in_brackets(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """(n,): whether a text begins and ends as a list does; null where there is none."""
    return pc.match_substring_regex(text, _BRACKETS)


def lists_of_text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column of lists where every value that a column of text has is a list in brackets; None where one is
    not.

    The elements are whole numbers or numbers where all of them are, else text. No text, or blanks, is no
    list: null.
    """
    text = pc.utf8_trim_whitespace(decode_column(column).cast(pa.large_string()))
    empty = pc.equal(text, "")
    if pc.all(pc.or_(empty, in_brackets(text))).as_py() is not True:
        return None
    if pc.all(pc.fill_null(empty, True)).as_py():
        return None
    encoded = text.dictionary_encode()
    known = {
        name: _elements(name) if name else None
        for chunk in encoded.chunks
        for name in chunk.dictionary.to_pylist()
    }
    if any(name and elements is None for name, elements in known.items()):
        return None
    kind, make = _kind_of([element for elements in known.values() for element in elements or ()])
    chunks = []
    for chunk in encoded.chunks:
        values = [known[name] for name in chunk.dictionary.to_pylist()]
        lists = [None if value is None else [make(element) for element, _ in value] for value in values]
        chunks.append(pa.array(lists, pa.list_(kind)).take(chunk.indices))
    return pa.chunked_array(chunks, pa.list_(kind))


def _kind_of(elements: list[tuple[str, bool]]) -> tuple[pa.DataType, Any]:
    """The type of all elements (text, quoted), and what makes one of its text."""
    bare = bool(elements) and not any(quoted for _, quoted in elements)
    if bare and all(_WHOLE.fullmatch(element) for element, _ in elements):
        return pa.int64(), int
    if bare and all(_NUMBER.fullmatch(element) for element, _ in elements):
        return pa.float64(), float
    return pa.string(), str


def _elements(text: str) -> list[tuple[str, bool]] | None:
    """(element, whether it stood in quotes) of a list in brackets, without what stands for no value."""
    inner, at = text[1:-1], 0
    if not inner.strip():
        return []
    if _numbers_alone(inner):  # as numpy prints them
        return [(number, False) for number in inner.split()]
    elements = list[tuple[str, bool]]()
    while at < len(inner):
        token = _TOKEN.match(inner, at)
        if token is None or token.end() == at:
            return None
        if token["quoted"]:
            elements.append((_unquote(token["quoted"]), True))
        elif text[0] == "{" and ":" in token["bare"]:  # a mapping
            return None
        elif token["bare"].strip().lower() not in _NOTHING:
            elements.append((token["bare"].strip(), False))
        at = token.end()
    return elements


def _numbers_alone(inner: str) -> bool:
    words = inner.split()
    return len(words) > 1 and all(_NUMBER.fullmatch(word) for word in words)


def _unquote(text: str) -> str:
    for read in (json.loads, ast.literal_eval):
        with suppress(
            SyntaxError, ValueError
        ):  # JSON has no single quotes, Python no line break within quotes
            return str(read(text))
    return text[1:-1]
