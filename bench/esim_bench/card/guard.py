"""Nothing is destroyed by accident: what may not go out to the card of a protected slot.

The guard reads what is sent, command by command, so that neither an agent nor an APDU by hand walks around it.
"""

from __future__ import annotations

from collections.abc import Collection
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
_STORE_DATA: Final = 0xE2
_HINT: Final = "protect = false in the rack file, or --allow-destructive"


class Guard:
    """Refuses destructive ES10 functions on a protected slot. ``own``: ICCIDs of this bench, which may be deleted."""

    def __init__(self, protect: bool, own: Collection[bytes] = ()) -> None:
        self.protect = protect
        self.own = own
        self._begun: dict[tuple[int, int], bytes] = {}

    def outgoing(self, command: bytes, session: int = 0) -> None:
        """Look at a C-APDU that is about to be sent. Raises ProtectedError."""
        if not self.protect or len(command) < 6 or command[1] != _STORE_DATA or not command[0] & 0x80:
            return
        key = (session, channel_of(command[0]))
        data = command[5 : 5 + command[4]]
        # P2 is the block number: 00 begins a chain, whatever was begun before.
        begun = (b"" if command[3] == 0 else self._begun.get(key, b"")) + data
        self._begun[key] = begun[:64]
        tag = int.from_bytes(begun[:2], "big")
        if tag not in _DESTRUCTIVE:
            return
        last = bool(command[2] & 0x80)
        if tag == 0xBF33 and last and self._is_own(begun):
            return
        raise ProtectedError(f"{_DESTRUCTIVE[tag]} on a protected slot", hint=_HINT)

    def _is_own(self, request: bytes) -> bool:
        try:
            iccid = tlv.parse(request).find(0x5A)
        except CodecError:
            return False
        return iccid is not None and iccid.value in self.own

    def __repr__(self) -> str:
        """Say what is protected."""
        own = ", ".join(iccid_to_text(iccid) for iccid in sorted(self.own))
        return f"Guard(protect={self.protect}, own=[{own}])"
