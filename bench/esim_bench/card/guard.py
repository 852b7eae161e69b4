"""Nothing is destroyed by accident: what may not go out to the card of a protected slot.

The guard reads what is sent, command by command, so that neither an agent nor an APDU by hand walks around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.apdu import channel_of
from esim_bench.codec.es10 import iccid_to_text
from esim_bench.errors import CodecError, ProtectedError

_DESTRUCTIVE: Final = {
    0xBF33: "ES10c.DeleteProfile",
    0xBF34: "eUICCMemoryReset",
    0xBF64: "ES10b.eUICCMemoryReset",
}
_DELETE_PROFILE: Final = 0xBF33
_EUICC_PACKAGE: Final = 0xBF51
_DELETE_PSMO: Final = re.compile(
    rb"\xA5(?:\x0C|\x81\x0C|\x82\x00\x0C)\x5A(?:\x0A|\x81\x0A|\x82\x00\x0A)(.{10})", re.DOTALL
)
"""A delete in a package (SGP.32 2.11.1.1.3), in whatever form of BER a card may take."""
_STORE_DATA: Final = 0xE2
_GET_RESPONSE: Final = 0xC0
_LAST_BLOCK: Final = 0x80
_KEPT: Final = 64
"""Bytes of a chain that are remembered, as far as it is no eUICC Package: more than any of them needs."""
_HINT: Final = "protect = false in the rack file, or --allow-destructive"


class Guard:
    """Refuses destructive ES10 functions on a protected slot. ``own``: ICCIDs of this bench, which may be deleted."""

    def __init__(self, protect: bool, own: Iterable[bytes] = ()) -> None:
        self.protect = protect
        self._own = set(own)
        self._begun: dict[tuple[int, int], list[bytes]] = {}

    def allow_deletion(self, iccid: bytes) -> None:
        """Note a profile that this bench installed: it may be deleted again."""
        self._own.add(iccid)

    def forget_chains(self) -> None:
        """Forget what was begun: the card was reset."""
        self._begun.clear()

    def outgoing(self, command: bytes, session: int = 0) -> None:
        """Look at a C-APDU that is about to be sent. Raises ProtectedError."""
        if not self.protect or len(command) < 4:
            return
        key = (session, channel_of(command[0]))
        begun = self._begun.get(key, [])
        if command[1] != _STORE_DATA:
            if begun and command[1] != _GET_RESPONSE and b"" not in begun:
                # A card may take this as the end of the chain, or not.
                begun.append(b"")
            return
        data = command[5 : 5 + command[4]] if len(command) > 5 else b""
        # Cards differ in what they make of a block number. Any reading of the blocks that destroys is refused.
        readings = [prefix + data for prefix in begun]
        if command[3] == 0 or not begun:
            readings.append(data)
        last = bool(command[2] & _LAST_BLOCK)
        for reading in readings:
            self._judge(reading, last)
        if last:
            self._begun.pop(key, None)
        else:
            self._begun[key] = list(dict.fromkeys(map(_kept, readings)))

    def _judge(self, request: bytes, complete: bool) -> None:
        tag = int.from_bytes(request[:2], "big")
        if tag == _EUICC_PACKAGE:
            if complete:
                self._judge_package(request)
            return
        if tag not in _DESTRUCTIVE or (tag == _DELETE_PROFILE and complete and self._is_own(request)):
            return
        raise ProtectedError(f"{_DESTRUCTIVE[tag]} on a protected slot", hint=_HINT)

    def _judge_package(self, request: bytes) -> None:
        """Refuse a package that deletes what is not ours; its last block has not left yet, so nothing has happened."""
        for found in _DELETE_PSMO.finditer(request):
            if found[1] not in self._own:
                what = f"an eUICC Package that deletes {iccid_to_text(found[1])}, on a protected slot"
                raise ProtectedError(what, hint=_HINT)

    def _is_own(self, request: bytes) -> bool:
        try:
            members = tlv.parse(request).children()
        except CodecError:
            return False
        return len(members) == 1 and members[0].tag == 0x5A and members[0].value in self._own

    def __repr__(self) -> str:
        """Say what is protected."""
        own = ", ".join(iccid_to_text(iccid) for iccid in sorted(self._own))
        return f"Guard(protect={self.protect}, own=[{own}])"


def _kept(reading: bytes) -> bytes:
    return reading if int.from_bytes(reading[:2], "big") == _EUICC_PACKAGE else reading[:_KEPT]
