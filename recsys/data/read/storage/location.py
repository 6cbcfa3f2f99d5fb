"""Files on a disk or in a bucket: what a name means, which files lie below it, and how their bytes are
opened."""

import glob
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys.errors import DataError

_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_PACKINGS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def is_remote(path: Any) -> bool:
    """Whether a name or path is an address, such as s3://shop/events."""
    return "://" in str(path)


def path_of(name: str | Path) -> Path:
    """A path on this machine, or in a bucket (s3://, gs://, az://, and what else fsspec knows) with the same
    methods.

    Keys and endpoints are those of the environment, as the libraries s3fs, gcsfs and adlfs read them. Raises
    DataError where the library of an address is not installed, there is none, or nothing answers: no network,
    no rights.
    """
    if not is_remote(name):
        return Path(name)
    scheme = str(name).partition("://")[0]
    try:
        from upath import UPath

        path: Any = UPath(name)
        path.exists()  # asked here, so that what stands in the way is said here
    except ImportError:
        needed = _EXTRAS.get(scheme, "fsspec")
        raise DataError(f"{name} needs {needed}: pip install 'recsys-embeddings[cloud]'.") from None
    except Exception as error:
        raise explain_unreached(name, error) from None
    return path  # type: ignore[no-any-return]


def explain_unreached(path: Any, error: Exception) -> DataError:
    """The error that says why an address cannot be read."""
    reason = (str(error).splitlines() or [""])[0].rstrip(".")[:200] or type(error).__name__
    return DataError(f"{path} cannot be reached: {reason}. Check the address, the keys and the endpoint.")


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, at any depth, in the order of their names; links to folders are not
    followed."""
    if not is_remote(folder):
        return sorted(file for file in folder.rglob("*") if file.is_file())
    place: Any = folder
    try:
        files = [place / key[len(place.path.rstrip("/")) + 1 :] for key in place.fs.find(place.path)]
    except Exception as error:
        raise explain_unreached(folder, error) from None
    return sorted(files, key=lambda file: file.relative_to(folder).parts)


def matches(pattern: Path) -> list[Path]:
    """The files and folders that a pattern such as s3://shop/part-*.parquet finds, in the order of their
    names."""
    if not is_remote(pattern):
        return [Path(name) for name in sorted(glob.glob(str(pattern)))]
    place: Any = pattern
    try:
        return [path_of(place.fs.unstrip_protocol(key)) for key in sorted(place.fs.glob(place.path))]
    except Exception as error:
        raise explain_unreached(pattern, error) from None


def names_in(folder: Path) -> list[str]:
    """The names of what lies in a folder, in their order. A bucket is asked once, whatever is asked of the
    names."""
    if not is_remote(folder):
        return sorted(os.listdir(folder))
    place: Any = folder
    try:
        return sorted(key.rstrip("/").rpartition("/")[2] for key in place.fs.ls(place.path, detail=False))
    except Exception as error:
        raise explain_unreached(folder, error) from None


class _Remote(io.RawIOBase):
    """A file in a bucket, whose every trouble is a DataError that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._done(path.open, "rb")

    def _done(self, action: Callable[..., Any], *args: Any) -> Any:
        try:
            return action(*args)
        except Exception as error:
            raise explain_unreached(self._path, error) from None

    def read(self, size: int = -1) -> bytes:
        return bytes(self._done(self._file.read, size))

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return int(self._done(self._file.seek, place, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_file(path: Path) -> pa.NativeFile:
    """The bytes of a file as they are, to be read at any place."""
    return pa.PythonFile(_Remote(path), mode="r") if is_remote(path) else pa.OSFile(str(path), "rb")


def is_bare(path: Path) -> bool:
    """Whether a file lies on this machine and is not packed."""
    return not is_remote(path) and path.suffix not in _PACKINGS


def open_text(path: Path) -> io.BufferedReader:
    """The bytes of a file from its beginning, unpacked where its ending says .gz, .bz2 or .zst."""
    packing = _PACKINGS.get(path.suffix)
    if not is_remote(path):
        return io.BufferedReader(pa.input_stream(str(path))) if packing else path.open("rb")
    return io.BufferedReader(
        pa.CompressedInputStream(open_file(path), packing) if packing else open_file(path)
    )
