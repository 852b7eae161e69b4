"""What function each APDU of a journal belongs to, said quickly: the same names as ``decode``, without the words.

An ES10 function may take many APDUs (STORE DATA chains, GET RESPONSE): each of them has its name.
"""

from __future__ import annotations

from typing import Final

from esim_bench.codec import es10, es10_iot
from esim_bench.codec.apdu import channel_of
from esim_bench.trace import names
from esim_bench.trace.decode import LOAD_BPP

_SEGMENTS: Final = (0xA0, 0xA1, 0xA2, 0xA3, 0x86, 0x87, 0x88)
_BPP: Final = 0xBF36
_BETWEEN: Final = (0x12, 0x14, 0xF2, 0xC2)
"""Polling and proactive commands, which do not end a chain."""


class Labels:
    """Names APDUs in their order, and numbers the names."""

    def __init__(self) -> None:
        self.names: list[str] = [""]
        """By number; 0 is for what is no APDU."""
        self._numbers: dict[str, int] = {"": 0}
        self._talks: dict[tuple[int, int], tuple[int, bool]] = {}
        """(session, channel) -> the function under way, and whether a package is being loaded."""

    def number(self, name: str) -> int:
        """Return the number of a name."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
        return found

    def known(self, name: str) -> int | None:
        """Return the number of a name that was seen, None for another."""
        return self._numbers.get(name)

    def reset(self) -> None:
        """Forget what was under way: the card was reset, or lost its power."""
        self._talks.clear()

    def apdu(self, command: bytes, session: int) -> int:
        """Return the number of the function that an APDU belongs to."""
        if len(command) < 4:
            return self.number("?")
        ins = command[1]
        talk = (session, channel_of(command[0]))
        if ins == 0xE2:
            return self._store_data(talk, command)
        under_way = self._talks.get(talk)
        if under_way is not None:
            if ins == 0xC0 and under_way[0]:
                return under_way[0]
            if ins not in _BETWEEN:
                self._talks[talk] = (0, under_way[1])
        return self.number(names.INSTRUCTIONS.get(ins) or f"INS {ins:02X}")

    def _store_data(self, talk: tuple[int, int], command: bytes) -> int:
        function, loading = self._talks.get(talk, (0, False))
        if command[3] == 0 or not function:
            tag = _first_tag(command, 5) if command[3] == 0 else 0
            if tag == _BPP or (loading and tag in _SEGMENTS):
                function, loading = self.number(LOAD_BPP), True
            else:
                loading = False
                known = es10.FUNCTIONS.get(tag) or es10_iot.FUNCTIONS.get(tag)
                name = known.name if known is not None else f"STORE DATA {tag:X}" if tag else "STORE DATA"
                function = self.number(name)
        self._talks[talk] = (function, loading)
        return function


def _first_tag(command: bytes, offset: int) -> int:
    if len(command) <= offset:
        return 0
    first = command[offset]
    if first & 0x1F == 0x1F and len(command) > offset + 1:
        return first << 8 | command[offset + 1]
    return first
