"""Chance that is the same in every process: numbers in [0, 1) from SHA-256 of texts.

Version 1 is frozen by `tests/experiments/hash_vectors.jsonl`: whoever changes what it gives moves people
between arms. Texts are joined by a NUL, which neither salts nor purposes may hold, so no two questions are
the same bytes.
"""

from collections.abc import Iterator
from hashlib import sha256

HASH_VERSION = 1
_STEP = 2.0**-53  # numbers are multiples of it, so that a float holds each exactly


def place(salt: str, unit: str) -> float:
    """Where a unit stands in [0, 1) for a salt: the first 53 bits of SHA-256."""
    return (int.from_bytes(sha256(f"{salt}\0{unit}".encode()).digest()[:8]) >> 11) * _STEP


def two_places(salt: str, unit: str) -> tuple[float, float]:
    """`place`, and a second one that is independent of it: the bits 65 to 117."""
    digest = sha256(f"{salt}\0{unit}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) * _STEP, (int.from_bytes(digest[8:16]) >> 11) * _STEP


def uniforms(request_id: str, purpose: str) -> Iterator[float]:
    """Endless numbers in [0, 1) for one request and purpose, so that a replay of the request draws the
    same."""
    block = 0
    while True:
        digest = sha256(f"{request_id}\0{purpose}\0{block}".encode()).digest()
        for start in (0, 8, 16, 24):
            yield (int.from_bytes(digest[start : start + 8]) >> 11) * _STEP
        block += 1
