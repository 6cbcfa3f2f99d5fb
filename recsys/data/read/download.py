"""Downloads of public data sets into the user's cache: checked by digest, resumed, and never half-written.

A file appears under its own name only when it is whole and its digest is right. What an interruption leaves
is `NAME.part`, which no reader looks at and the next attempt goes on from, where a digest can tell whether
that went well.
"""

import http.client
import os
import urllib.error
import urllib.request
import zipfile
from hashlib import md5
from pathlib import Path
from typing import IO, NamedTuple

from recsys.config import data_folders
from recsys.durable import hold_lock
from recsys.errors import DataError
from recsys.progress import Progress, Step, silent

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_CHUNK = 1 << 20
_ATTEMPTS = 3
_TIMEOUT_S = 60


class Remote(NamedTuple):
    """A file to download. md5: as published beside the file, None for one that its publisher changes over
    time."""

    file: str
    md5: str | None
    note: str


REMOTES = {
    "ml-100k": Remote("ml-100k.zip", "0e33842e24a9c977be4e0107933c0723", "100,000 ratings, 5 MB"),
    "ml-1m": Remote("ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906", "1 million ratings, 6 MB"),
    "ml-10m": Remote("ml-10m.zip", "ce571fd55effeba0271552578f2648bd", "10 million ratings, 63 MB"),
    "ml-20m": Remote("ml-20m.zip", "cd245b17a1ae2cc31bb14903e1204af3", "20 million ratings, 190 MB"),
    "ml-25m": Remote("ml-25m.zip", "6b51fb2759a8657d3bfcbfc42b592ada", "25 million ratings, 250 MB"),
    "ml-32m": Remote("ml-32m.zip", "d472be332d4daa821edc399621853b57", "32 million ratings, 239 MB"),
    "ml-latest-small": Remote("ml-latest-small.zip", None, "about 100,000 ratings; changes over time"),
    "ml-latest": Remote("ml-latest.zip", None, "about 33 million ratings; changes over time"),
}


def download(
    name: str, *, base: str = GROUPLENS, folder: Path | None = None, progress: Progress = silent
) -> Path:
    """The zip file of a MovieLens set in the cache, downloaded unless it is there already.

    base: the address of the folder that holds the files, for a mirror. folder: where to put it; None = the
    cache. Raises DataError: unknown name, no connection, wrong digest, no zip file.
    """
    if name not in REMOTES:
        raise DataError(f"data set {name!r} cannot be downloaded; known ones are {', '.join(REMOTES)}.")
    remote = REMOTES[name]
    folder = folder or data_folders()[-1]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / remote.file
    if path.is_file():
        return path
    part = path.with_name(path.name + ".part")
    try:
        with (
            hold_lock(path.with_name(f".{path.name}.lock"), wait=False, keep=False),
            open(part, "ab") as stream,
        ):
            try:
                _fetch(f"{base.rstrip('/')}/{remote.file}", stream, remote, progress)
                _check(part, remote)
            except BaseException:
                if remote.md5 is None or not os.fstat(stream.fileno()).st_size:  # nothing to go on from
                    part.unlink(missing_ok=True)
                raise
            os.fsync(stream.fileno())
            os.replace(part, path)
    except BlockingIOError:
        raise DataError(f"{part} is being downloaded by another process; wait until it is done.") from None
    return path


def _fetch(url: str, stream: IO[bytes], remote: Remote, progress: Progress) -> None:
    """Appends what is missing of a file; a connection that breaks is taken up again where it broke."""
    if remote.md5 is None:
        stream.truncate(0)  # the publisher may have changed the file since
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _append(url, stream, remote.file, progress)
            return
        except urllib.error.HTTPError as error:
            raise DataError(
                f"{url} answers {error.code} {error.reason}. Check the address or name a mirror."
            ) from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == _ATTEMPTS:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                raise DataError(
                    f"{url} cannot be downloaded: {reason}. Check the connection and run the command again."
                ) from None


def _append(url: str, stream: IO[bytes], task: str, progress: Progress) -> None:
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url} must start with https:// or http://; give the address of a mirror.")
    start = os.fstat(stream.fileno()).st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the digest decides
        raise
    with answer:
        if start and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            stream.truncate(0)
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else 0
        done = start
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            progress(Step(f"downloading {task}", done, max(total, done)))
        stream.flush()
        if total and done < total:
            raise http.client.IncompleteRead(b"", total - done)


def _check(part: Path, remote: Remote) -> None:
    """Removes the file and raises unless its digest is the published one and it is a zip file."""
    digest = md5(usedforsecurity=False)
    with open(part, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if remote.md5 is not None and digest.hexdigest() != remote.md5:
        part.unlink()
        raise DataError(
            f"{remote.file} must have the published MD5 {remote.md5}, got {digest.hexdigest()}; what came "
            f"was thrown away. Run the command again, or name another mirror."
        )
    if not zipfile.is_zipfile(part):
        part.unlink()
        raise DataError(f"{remote.file} is no zip file; what came was thrown away. Check the address.")
