"""What may not go out to the modem of a protected slot by hand: lines with APDUs that destroy, and what hides them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from esim_bench.card.guard import Guard
from esim_bench.codec import at
from esim_bench.errors import CodecError, ProtectedError

_HINT: Final = "protect = false in the rack file, or --allow-destructive"
_APDU: Final = re.compile(r"(\+CSIM|\+CGLA)\s*=(.*)", re.IGNORECASE | re.DOTALL)
_MAKERS: Final = re.compile(r"(ESIM|EUICC|LPA)", re.IGNORECASE)
_DESTROYS: Final = re.compile(r"(DEL|RESET|ERASE|REMOVE)", re.IGNORECASE)
_STORE_DATA: Final = 0xE2
_LAST_BLOCK: Final = 0x80


def check_at_line(line: str, guard: Guard) -> None:
    """Look at a command line before it is sent. Raises ProtectedError.

    Each line is judged by itself: parts of a chain, whose beginning another line may have sent, are refused as well.
    """
    if not guard.protect:
        return
    if line[:2].upper() != "AT":
        raise ProtectedError("a line that repeats or hides a command", expected="AT...", found=repr(line), hint=_HINT)
    for command in _commands(line[2:]):
        # Not at its beginning alone: an extended command may follow a basic one without a semicolon, ATE0+CSIM=...
        found = _APDU.search(command)
        if found is not None:
            if not found[2].strip().startswith("?"):
                _check_apdu(found[1].upper(), found[2], guard)
        elif _MAKERS.search(command) and _DESTROYS.search(command):
            raise ProtectedError("a maker's command that may delete profiles", found=command, hint=_HINT)


def _check_apdu(name: str, parameters: str, guard: Guard) -> None:
    try:
        handle, command = at.apdu_parameters(parameters, session=name == "+CGLA")
    except CodecError as exc:
        raise ProtectedError(f"parameters of AT{name} that cannot be read", found=str(exc), hint=_HINT) from exc
    if len(command) > 3 and command[1] == _STORE_DATA and (command[3] or not command[2] & _LAST_BLOCK):
        raise ProtectedError("a part of a STORE DATA chain by hand", expected="a single block", hint=_HINT)
    guard.outgoing(command, _number_of(handle))


def _number_of(handle: str) -> int:
    return int.from_bytes(handle.encode(), "big")


def _commands(text: str) -> Iterator[str]:
    """Split a command line at semicolons outside of quotes; spaces there mean nothing (V.250 5.2.1)."""
    part, quoted = "", False
    for character in text:
        if character == ";" and not quoted:
            yield part
            part = ""
            continue
        quoted ^= character == '"'
        if quoted or character != " ":
            part += character
    yield part
