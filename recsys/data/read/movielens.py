"""MovieLens in every layout that GroupLens published, from its zip file or from the unpacked folder.

100K: `u.data`, `u.item`, `u.genre` (tabs and bars). 1M, 10M: `ratings.dat`, `movies.dat` (`::`). 20M, 25M,
32M, latest and latest-small: `ratings.csv`, `movies.csv`. Titles are UTF-8 where they can be read so, else
Latin-1 (100K and 1M).
"""

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa

from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.storage.delimited import parse
from recsys.data.read.storage.dialect import Dialect
from recsys.data.read.storage.location import is_remote
from recsys.errors import DataError

_EVENTS = {"userId": "user_id", "movieId": "item_id", "rating": "weight", "timestamp": "timestamp"}
_RATINGS = Wanted(list(_EVENTS), ["userId", "movieId"])
_GENRE_FLAGS = 5  # the column of `u.item` where the flags begin


class _Layout(NamedTuple):
    """The files of a layout, and how each is read."""

    ratings: str
    movies: str
    read_ratings: Callable[[IO[bytes]], pa.Table]
    read_movies: Callable[["_Folder"], list[tuple[str, str, list[str]]]]


class _Folder:
    """Files by their bare names, in a folder (or the one folder inside it) or in a zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            inner = [path, *(child for child in sorted(path.iterdir()) if child.is_dir())]
            self.members = {file.name: str(file) for folder in reversed(inner) for file in folder.glob("*.*")}
        else:
            try:
                with zipfile.ZipFile(path) as archive:
                    self.members = {Path(name).name: name for name in archive.namelist()}
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"{path} cannot be read: {error}. Download it again.") from None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file of the folder, opened to be read."""
        if self.path.is_dir():
            with open(self.members[name], "rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.members[name]) as stream:
                yield stream

    def text(self, name: str) -> str:
        with self.open(name) as stream:
            raw = stream.read()
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def layout(self) -> _Layout | None:
        return next((one for one in LAYOUTS if {one.ratings, one.movies} <= set(self.members)), None)


def is_movielens(path: Path) -> bool:
    """Whether a folder or zip file holds the ratings and films of a published layout."""
    return (
        not is_remote(path)
        and (path.is_dir() or path.suffix == ".zip")
        and _Folder(path).layout() is not None
    )


def read_movielens(path: Path) -> tuple[pa.Table, pa.Table]:
    """Events (user_id, item_id, timestamp, and the rating as weight) and items (item_id, title,
    categories)."""
    folder = _Folder(path)
    layout = folder.layout()
    if layout is None:
        wanted = "; ".join(f"{one.ratings} and {one.movies}" for one in LAYOUTS)
        raise DataError(f"{path} is no MovieLens data set: it must hold {wanted}.")
    try:
        with folder.open(layout.ratings) as stream:
            ratings = layout.read_ratings(stream)
        films = layout.read_movies(folder)
    except (pa.ArrowException, zipfile.BadZipFile, OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}. Download it again.") from None
    ids, titles, genres = zip(*films, strict=True) if films else ((), (), ())
    categories = [list(names) or None for names in genres]
    items = pa.table(
        {
            "item_id": pa.array(ids, pa.string()),
            "title": pa.array(titles, pa.string()),
            "categories": pa.array(categories, pa.list_(pa.string())),
        }
    )
    return ratings.rename_columns([_EVENTS[name] for name in ratings.column_names]), items


def _ratings_tab(stream: IO[bytes]) -> pa.Table:
    return parse(stream, Dialect(list(_EVENTS), "\t", headless=True, quotes=False), _RATINGS)


def _ratings_dat(stream: IO[bytes]) -> pa.Table:
    """`user::item::rating::time`, read as if by `:`, which leaves an empty column between two."""
    names = ["userId", "", "movieId", " ", "rating", "  ", "timestamp"]
    return parse(stream, Dialect(names, ":", headless=True, quotes=False), _RATINGS)


def _ratings_csv(stream: IO[bytes]) -> pa.Table:
    return parse(stream, Dialect(list(_EVENTS)), _RATINGS)


def _films_bar(folder: _Folder) -> list[tuple[str, str, list[str]]]:
    names = [line.split("|")[0] for line in folder.text("u.genre").splitlines() if line]
    films = []
    for line in folder.text("u.item").splitlines():
        if line:
            fields = line.split("|")
            flags = fields[_GENRE_FLAGS : _GENRE_FLAGS + len(names)]
            films.append(
                (fields[0], fields[1], [name for name, flag in zip(names, flags, strict=True) if flag == "1"])
            )
    return films


def _films_dat(folder: _Folder) -> list[tuple[str, str, list[str]]]:
    films = []
    for line in folder.text("movies.dat").splitlines():
        if line:
            id_, title, genres = line.split("::")
            films.append((id_, title, _genres(genres)))
    return films


def _films_csv(folder: _Folder) -> list[tuple[str, str, list[str]]]:
    names = ["movieId", "title", "genres"]
    table = parse(io.BytesIO(folder.text("movies.csv").encode()), Dialect(names), Wanted(names, names))
    columns = (table[name].cast(pa.string()).to_pylist() for name in names)
    return [(id_, title, _genres(genres)) for id_, title, genres in zip(*columns, strict=True)]


def _genres(text: str) -> list[str]:
    return [] if text in ("", "(no genres listed)") else text.split("|")


LAYOUTS = (
    _Layout("u.data", "u.item", _ratings_tab, _films_bar),
    _Layout("ratings.dat", "movies.dat", _ratings_dat, _films_dat),
    _Layout("ratings.csv", "movies.csv", _ratings_csv, _films_csv),
)
