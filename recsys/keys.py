"""Keys of the service, in one file: made, listed and revoked there, while the service runs. What the file
holds opens nothing: of a key it keeps the SHA-256.

A key is `rk_ID_SECRET`. ID, 12 hexadecimal digits, is public and stands in logs; SECRET is 256 random bits. A
slow hash would add nothing: nobody guesses 256 bits. The file also holds the secret that cursors are signed
with.
"""

import json
import os
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

from recsys.errors import SettingError
from recsys.text import did_you_mean, utc_text

FILE, AUDIT, FORMAT = "keys.json", "audit.jsonl", 1
SCOPES = ("read", "write", "admin")
_MARK, _ID_BYTES, _SECRET_BYTES = "rk_", 6, 32
_AFTER_ID = len(_MARK) + 2 * _ID_BYTES
_QUOTA = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)")
_LONGEST_NAME = 60
_NOBODY = bytes(32)


@dataclass(frozen=True)
class Key:
    """What the file knows of a key. name: for people. quota: requests, as in 100/second, or None.

    created, revoked: unix seconds; None where it is not revoked.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    quota: str | None
    created: int
    revoked: int | None = None


@dataclass(frozen=True, eq=False)
class KeyRing:
    """All keys of a file, and the secret of cursors (32 bytes)."""

    cursor_secret: bytes
    keys: tuple[Key, ...] = ()
    _live: Mapping[bytes, tuple[Key, bytes]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        live = {key.id.encode(): (key, bytes.fromhex(key.sha256)) for key in self.keys if key.revoked is None}
        object.__setattr__(self, "_live", live)

    @property
    def live(self) -> list[Key]:
        """The keys that open something."""
        return [key for key, _ in self._live.values()]

    def find(self, text: bytes) -> Key | None:
        """The key that somebody shows. How long it takes tells nothing of what is stored."""
        key, digest = self._live.get(text[len(_MARK) : _AFTER_ID], (None, _NOBODY))
        return key if compare_digest(sha256(text).digest(), digest) else None


def read_keys(path: Path) -> KeyRing | None:
    """The keys of a file; None where there is none. Raises SettingError where it is something else."""
    try:
        value = json.loads(path.read_bytes())
        assert value["format"] == FORMAT
        keys = tuple(Key(**{**one, "scopes": tuple(one["scopes"])}) for one in value["keys"])
        return KeyRing(bytes.fromhex(value["cursor_secret"]), keys)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingError(
            f"{path} cannot be read: {error.strerror}. Give the service the right to read it."
        ) from None
    except (ValueError, TypeError, KeyError, AssertionError):
        raise SettingError(
            f"{path} is no file of keys of format {FORMAT}. Put back the file, or move it away and make "
            f"new keys: recsys keys make NAME"
        ) from None


def make_key(path: Path, name: str, scopes: Sequence[str], quota: str | None = None) -> tuple[str, Key]:
    """A new key, added to the file: (its text, which is shown this once, what the file knows of it)."""
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise SettingError(f"a key's name has 1 to {_LONGEST_NAME} printable characters, got {name!r}.")
    for scope in scopes:
        if scope not in SCOPES:
            raise SettingError(f"there is no scope {scope!r}; {did_you_mean(scope, SCOPES)}")
    if not scopes:
        raise SettingError(f"a key without a scope opens nothing; name some of {', '.join(SCOPES)}.")
    if quota is not None and not _QUOTA.fullmatch(quota):
        raise SettingError(
            f"a quota is a number of requests by second, minute, hour or day, as 100/second, got {quota!r}."
        )
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"{_MARK}{key_id}_{urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip('=')}"
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    key = Key(key_id, name, ordered, sha256(text.encode()).hexdigest(), quota, int(time.time()))
    _change(path, lambda ring: replace_keys(ring, [*ring.keys, key]))
    note(
        path.parent,
        {"operation": "make_key", "key": key.id, "name": name, "scopes": list(ordered), "quota": quota},
    )
    return text, key


def revoke_key(path: Path, key_id: str) -> Key:
    """Revokes the key with this id; it stays in the list. Raises SettingError where it opens nothing
    anyway."""
    ring = read_keys(path)
    live = [] if ring is None else [key.id for key in ring.live]
    if key_id not in live:
        raise SettingError(
            f"{path} holds no key {key_id!r} that opens anything; {did_you_mean(key_id, live)}"
        )
    now = int(time.time())
    after = _change(
        path,
        lambda ring: replace_keys(
            ring,
            [
                replace(key, revoked=now) if key.id == key_id and key.revoked is None else key
                for key in ring.keys
            ],
        ),
    )
    note(path.parent, {"operation": "revoke_key", "key": key_id})
    return next(key for key in after.keys if key.id == key_id)


def note(state: Path, entry: Mapping[str, Any]) -> None:
    """Adds a line to the audit log of a folder of state: who changed what. It is on the disk when this
    returns."""
    path = state / AUDIT
    line = json.dumps({"time": utc_text(int(time.time())), **entry}) + "\n"
    with _naming(path):
        state.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)


def replace_keys(ring: KeyRing, keys: Sequence[Key]) -> KeyRing:
    """The same secret with other keys."""
    return KeyRing(ring.cursor_secret, tuple(keys))


def _change(path: Path, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """Replaces the file under its lock; a reader sees the old one or the new one. Only its owner may read
    it."""
    from recsys import durable

    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable.hold_lock(path.with_name(path.name + ".lock")):
            after = change(read_keys(path) or KeyRing(secrets.token_bytes(_SECRET_BYTES)))
            value: dict[str, Any] = {
                "format": FORMAT,
                "cursor_secret": after.cursor_secret.hex(),
                "keys": [asdict(key) for key in after.keys],
            }
            aside = path.with_name(path.name + durable.PARTIAL)
            aside.unlink(missing_ok=True)
            with open(
                os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(value, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            if (
                path.exists()
            ):  # whoever may read the old one, as the service's user does, may read the new one
                was = path.stat()
                os.chmod(aside, was.st_mode & 0o7777)
                if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                    os.chown(aside, was.st_uid, was.st_gid)
            os.replace(aside, path)
            durable.fsync(path.parent)
    return after


@contextmanager
def _naming(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise SettingError(
            f"{path} cannot be written: {error.strerror}. Mend access, or name another --state."
        ) from None
