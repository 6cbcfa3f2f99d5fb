"""How an event store writes down who: by their ids, or by a keyed hash of each.

A hash protects a copy of the store, of an export, or of a bundle learned from them, wherever the key is not:
in a backup, with an analyst, at another company. It protects from nobody who reads the folder of the service.
"""

import os
import re
import secrets
from hashlib import blake2b
from pathlib import Path

from recsys.errors import DataError

KEY = "ids.key"  # beside the store
HASHED = re.compile(r"~[0-9a-f]{32}")


class PlainNames:
    """Ids are kept as clients send them."""

    def of(self, id_: str) -> str:
        """What stands for an id in the store."""
        return id_


class HashedNames(PlainNames):
    """`~` and 128 bits in hex of each id, by a key: equal ids have equal hashes, and who has no key can tell
    nobody.

    What is such a hash already stays as it is, so that what comes out of a store may go in again.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, id_: str) -> str:
        if HASHED.fullmatch(id_):
            return id_
        return "~" + blake2b(id_.encode(errors="surrogatepass"), key=self._key, digest_size=16).hexdigest()


def make_key(folder: Path) -> None:
    """Writes a new key into a folder that has none; only its owner may read it."""
    try:
        file = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        os.write(file, secrets.token_hex(32).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def hashed_names(folder: Path) -> HashedNames:
    """The names by the key in a folder. Raises DataError where there is no key."""
    try:
        return HashedNames(bytes.fromhex((folder / KEY).read_text("ascii").strip()))
    except (OSError, ValueError):
        raise DataError(
            f"{folder / KEY} is not there or no key, and the ids in the event store beside it are hashed "
            f"by one. Put it back: without it nobody in the store is found."
        ) from None
