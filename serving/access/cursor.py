"""Pages of one list that never repeat: a cursor says what was shown, so that nothing has to be kept.

It is bound to a bundle and a person, and signed: what somebody makes up or changes is refused. A page is the
best of what was not shown yet; where nothing was clicked between pages they are, in a row, the one long list.
"""

import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from hashlib import sha256

import numpy as np

from recsys.answers.question import MAX_K
from recsys.arrays import I32
from recsys.serving.problems import Problem

FIRST = ""  # asks for the first page
MAX_SHOWN = MAX_K  # items of all pages together
_VERSION, _BUNDLE, _SIGNATURE = b"\x01", 8, 16


def make_cursor(secret: bytes, bundle_id: str, person: str, shown: I32) -> str:
    """The cursor after these items (indices, in any order)."""
    ordered = np.sort(shown)
    steps = np.diff(ordered, prepend=0).astype("<u4")
    body = _VERSION + _digest_of(bundle_id) + zlib.compress(steps.tobytes(), 6)
    return _encode(body + _signature(secret, person, body))


def read_cursor(secret: bytes, bundle_id: str, person: str, cursor: str) -> I32:
    """The items that were shown, ascending. Raises a Problem where the cursor is none of ours, or of another
    bundle."""
    try:
        whole = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
    except (NotBase64, ValueError):
        whole = b""
    if _encode(whole) != cursor:  # the decoder overlooks what it does not know
        whole = b""
    body, signature = whole[:-_SIGNATURE], whole[-_SIGNATURE:]
    if body[:1] != _VERSION or not hmac.compare_digest(signature, _signature(secret, person, body)):
        raise Problem(
            "invalid_cursor",
            "The cursor is none that this service gave for this person; begin anew with an empty one.",
        )
    if body[1 : 1 + _BUNDLE] != _digest_of(bundle_id):
        raise Problem(
            "cursor_expired",
            "The cursor belongs to a bundle that answers no more; begin anew with an empty one.",
        )
    steps = np.frombuffer(zlib.decompress(body[1 + _BUNDLE :]), "<u4")
    return np.cumsum(steps, dtype=np.int64).astype(np.int32)


def _encode(whole: bytes) -> str:
    return urlsafe_b64encode(whole).decode().rstrip("=")


def _digest_of(bundle_id: str) -> bytes:
    return sha256(bundle_id.encode()).digest()[:_BUNDLE]


def _signature(secret: bytes, person: str, body: bytes) -> bytes:
    return hmac.digest(secret, len(person).to_bytes(4, "big") + person.encode() + body, "sha256")[:_SIGNATURE]
