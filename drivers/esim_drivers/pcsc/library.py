"""The PC/SC functions, loaded when they are first needed."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import importlib.metadata
from functools import cache
from typing import Any, Final

from esim_bench.errors import ConfigError

_SHARED_OBJECT: Final = "libpcsclite.so.1"
OLDEST: Final = (2, 3)
"""The oldest usable pyscard: earlier ones miss events and have faults with threads."""

# winscard.h and pcsclite.h
SCOPE_USER: Final = 0
SHARE_EXCLUSIVE: Final = 1
SHARE_SHARED: Final = 2
SHARE_DIRECT: Final = 3
WAS_RESET: Final = 0x0060
"""SCARD_NEGOTIABLE and SCARD_SPECIFIC of a card's state: it has power and has answered a reset."""
LEAVE_CARD: Final = 0
RESET_CARD: Final = 1
UNPOWER_CARD: Final = 2
PROTOCOL_T0: Final = 1
PROTOCOL_T1: Final = 2
STATE_UNKNOWN: Final = 0x0004
STATE_UNAVAILABLE: Final = 0x0008
STATE_PRESENT: Final = 0x0020
STATE_EXCLUSIVE: Final = 0x0080
STATE_INUSE: Final = 0x0100
STATE_MUTE: Final = 0x0200
ATTR_CHANNEL_ID: Final = 0x00020110


class Failure(Exception):
    """A PC/SC function returned something else than success; ``code`` is the unsigned hresult."""

    def __init__(self, code: int, call: str) -> None:
        super().__init__(f"{call}: {code & 0xFFFFFFFF:08X}")
        self.code = code & 0xFFFFFFFF
        self.call = call


@cache
def load() -> Any:
    """Return pyscard's ``smartcard.scard``. Raises ConfigError when pyscard or the PC/SC library is missing."""
    # pyscard would find the library missing too, and say so on stdout from C.
    if ctypes.util.find_library("pcsclite") is None:
        try:
            ctypes.CDLL(_SHARED_OBJECT)
        except OSError as exc:
            raise ConfigError(
                "the PC/SC library is missing", expected=_SHARED_OBJECT, hint="apt install pcscd libpcsclite1"
            ) from exc
    try:
        scard = importlib.import_module("smartcard.scard")
    except ImportError as exc:
        raise ConfigError(
            "pyscard is missing",
            expected="pyscard 2.3 or later",
            found=str(exc),
            hint="pip install 'esim-bench[pcsc]'; it is built with gcc and libpcsclite-dev",
        ) from exc
    version = pyscard_version()
    if version is not None and version < OLDEST:
        raise ConfigError(
            "pyscard is too old",
            expected="2.3 or later, as earlier ones lose events",
            found=".".join(map(str, version)),
            hint="pip install -U pyscard",
        )
    return scard


def pyscard_version() -> tuple[int, ...] | None:
    """Return the version of pyscard, None where it is not installed or does not say."""
    try:
        text = importlib.metadata.version("pyscard")
    except importlib.metadata.PackageNotFoundError:
        return None
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal()) or None


def check(code: int, call: str) -> None:
    """Raise Failure unless a function returned success."""
    if code != 0:
        raise Failure(code, call)
