"""Randomness as a port: the operating system's on real racks and served servers, seeded on simulated racks."""

from __future__ import annotations

import builtins
import hashlib
import hmac
import os
from typing import Protocol


class Randomness(Protocol):
    """A source of bytes for challenges, keys and identifiers."""

    @property
    def deterministic(self) -> bool:
        """Tell whether the same seed gives the same bytes; signatures follow (RFC 6979 when True)."""

    def bytes(self, length: int) -> builtins.bytes:
        """Return ``length`` fresh bytes."""

    def fork(self, *label: str | builtins.bytes) -> Randomness:
        """Return an independent source for a purpose, e.g. one session; seeded: by label, whatever was drawn before."""


class SystemRandomness:
    """The operating system's randomness."""

    deterministic = False

    def bytes(self, length: int) -> builtins.bytes:
        """Return ``length`` fresh bytes."""
        return os.urandom(length)

    def fork(self, *label: str | builtins.bytes) -> SystemRandomness:
        """Return itself."""
        return self


class SeededRandomness:
    """HMAC-SHA-256 in counter mode under a key from the seed and the labels. For simulated racks only."""

    deterministic = True

    def __init__(self, seed: str | builtins.bytes) -> None:
        self._key = hashlib.sha256(_bytes(seed)).digest()
        self._counter = 0

    def bytes(self, length: int) -> builtins.bytes:
        """Return the next ``length`` bytes of the stream."""
        out = b""
        while len(out) < length:
            out += hmac.digest(self._key, self._counter.to_bytes(8, "big"), "sha256")
            self._counter += 1
        return out[:length]

    def fork(self, *label: str | builtins.bytes) -> SeededRandomness:
        """Return the source of a purpose: the same labels always give the same source."""
        parts = b"".join(len(part).to_bytes(4, "big") + part for part in map(_bytes, label))
        return SeededRandomness(hmac.digest(self._key, b"fork" + parts, "sha256"))


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
