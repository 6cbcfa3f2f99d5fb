"""Where a person's id still lies below the home after the event store has forgotten them."""

import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.arrays import I32
from recsys.bundle.forget import USERS, rows_in
from recsys.bundle.manifest import MANIFEST
from recsys.errors import RecsysError
from recsys.ids import IdMap
from recsys.progress import Progress, Step, silent

WHO = ("user_id", "unit_id")  # fields and columns that name people
OURS = "mlruns"  # below the home: what recsys wrote
_WORDY = 8  # characters from which on an id stands for nothing else
_WORD = re.compile(rb"(?<![\w~.@+-])[A-Za-z0-9_~.@+-]{%d,}(?![\w~.@+-])" % _WORDY)
_AT_A_TIME = 1 << 16


class Place(NamedTuple):
    """What holds an id, or could not be looked into, and why. kind: a bundle, a table in Parquet, lines of
    JSON, a text, or another file."""

    kind: str
    path: Path
    unread: str | None = None


class Person:
    """Whom to look for: by ids that are known, and by digests of those that nobody remembers.

    digest: gives that of an id.
    """

    def __init__(
        self,
        ids: Iterable[str],
        digests: frozenset[bytes] = frozenset(),
        digest: Callable[[str], bytes] | None = None,
    ) -> None:
        self.ids = frozenset(ids)
        self._digest = digest
        self._digests = digests if digest is None else digests - {digest(one) for one in self.ids}
        self.words = sorted(one for one in self.ids if len(one) >= _WORDY and not one.isdigit())
        self.pattern = re.compile(rb"(?<![\w~-])(?:" + _either(self.words) + rb")(?![\w-])")
        self._anywhere = re.compile(_either(sorted(self.ids)))

    @property
    def only_by_ids(self) -> bool:
        """Whether all their ids are known, so that nothing has to be digested."""
        return not self._digests or self._digest is None

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str) or not text:
            return False
        if text in self.ids or self._digest is None or not self._digests:
            return text in self.ids
        return self._digest(text) in self._digests

    def may_be_in(self, line: bytes) -> bool:
        """Whether a line has to be looked at more closely."""
        return not self.only_by_ids or self._anywhere.search(line) is not None

    def among(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that are one of their ids."""
        return [one for one in texts if one in self]

    def spans(self, text: "mmap.mmap", *, words: bool) -> Iterator[tuple[int, int]]:
        """Where one of their ids stands by itself. words: whether ids that nobody remembers are looked for,
        too."""
        yield from (match.span() for match in self.pattern.finditer(text))
        if words and not self.only_by_ids:
            spans = (match.span() for match in _WORD.finditer(text))
            yield from (span for span in spans if text[slice(*span)].decode("ascii") in self)

    def rows(self, bundle: Path) -> I32:
        """int32 (m,): their rows in a bundle."""
        every = sorted(self.ids) if self.only_by_ids else self.among(IdMap.load(bundle / USERS))
        return rows_in(bundle, every)


def _either(texts: Sequence[str]) -> bytes:
    """A pattern of these texts, of nothing where there is none."""
    return b"|".join(re.escape(one.encode(errors="surrogatepass")) for one in texts) or rb"(?!)"


def places_of(person: Person, home: Path, progress: Progress = silent) -> Iterator[Place]:
    """Whatever below a home holds one of these ids: a bundle by its users, a Parquet table by its columns of
    people, or by all its texts where it has none, lines of JSON by their fields of people, and any other file
    by its bytes.

    In plain files only ids of eight characters and more that are no number are looked for: any other may be
    anything there. What an archive or a database has packed is not seen, nor are hidden folders outside
    `mlruns/`.
    """
    files = sorted(_files(home))
    bundles = {path.parent for path in files if path.name == MANIFEST and (path.parent / USERS).is_file()}
    for number, path in enumerate([*sorted(bundles), *files]):
        progress(Step("look for the id", number + 1, len(bundles) + len(files)))
        if bundles & set(path.parents):
            continue  # a part of a bundle, which is looked at as a whole
        kind = "bundle" if path in bundles else "file"
        try:
            kind = kind if path in bundles else _kind(path)
            if _holds(kind, path, person):
                yield Place(kind, path)
        except (RecsysError, OSError, pa.ArrowException) as error:
            yield Place(kind, path, str(error))


def _files(home: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(home):
        parent = Path(place)
        if not parent.is_relative_to(home / OURS):
            folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if (path := parent / name).is_file() and not path.is_symlink())


def _kind(path: Path) -> str:
    if path.suffix == ".parquet":
        return "table"
    with path.open("rb") as file:
        head = file.read(4096)
    if b"\0" in head:
        return "file"
    return (
        "lines"
        if re.match(rb"\s*\{[^\n]*\}\s*(\n|$)", head) or path.suffix in (".jsonl", ".ndjson")
        else "text"
    )


def _holds(kind: str, path: Path, person: Person) -> bool:
    if kind == "bundle":
        return len(person.rows(path)) > 0
    if kind == "table":
        return any(len(person.among(texts)) for texts in _texts_in(path))
    if kind == "lines":
        return next(lines_in(path, person), None) is not None
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return next(person.spans(text, words=kind == "text"), None) is not None


def columns_of_people(schema: pa.Schema) -> list[str]:
    """The columns of a table in which ids of people may stand: those of that name, else all texts."""
    texts = [field.name for field in schema if _is_text(field.type)]
    return [name for name in texts if name in WHO] or texts


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts_in(path: Path) -> Iterator[list[str]]:
    """The distinct texts of each column of people, some rows at a time."""
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(columns=columns_of_people(file.schema_arrow)):
        for column in batch.columns:
            plain = column.dictionary if isinstance(column, pa.DictionaryArray) else column
            yield plain.unique().to_pylist()


def lines_in(path: Path, person: Person) -> Iterator[tuple[int, int]]:
    """Where the lines of a file begin and end, without their line breaks, that are of a person."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file:
        at = 0
        while some := list(islice(file, _AT_A_TIME)):
            for line in some:
                if person.may_be_in(line) and _is_of(line, person):
                    yield at, at + len(line.rstrip(b"\r\n"))
                at += len(line)


def _is_of(line: bytes, person: Person) -> bool:
    """Whether a line is of a person: by its fields of people, or, where it has none, by any longer text."""
    try:
        said = orjson.loads(line)
    except ValueError:
        return person.pattern.search(line) is not None
    if isinstance(said, Mapping) and any(name in said for name in WHO):
        return any(said.get(name) in person for name in WHO)
    return any(text in person for text in _texts(said) if len(text) >= _WORDY)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)
