"""The eUICC Controlling Authority Security Domain (SGP.22 2.4.2): it holds certificates and the EID."""

from __future__ import annotations

from esim_bench.codec.apdu import Command
from esim_bench.codec.es10 import ECASD_AID
from esim_bench.codec.tlv import encode
from esim_bench.crypto.identity import EuiccIdentity
from esim_drivers.sim.application import Reply

_INS_GET_DATA = 0xCA
_TAG_EID = 0x005A


class Ecasd:
    """ECASD: SELECT, and GET DATA of the EID (GlobalPlatform Card Specification 11.3)."""

    def __init__(self, identity: EuiccIdentity) -> None:
        self._identity = identity

    @property
    def aid(self) -> bytes:
        """Return the ECASD's AID."""
        return ECASD_AID

    def select(self, channel: int) -> Reply:
        """Answer with the FCI: AID and an empty maximum-length template as security domains have it."""
        return Reply(encode(0x6F, encode(0x84, ECASD_AID), encode(0xA5, bytes.fromhex("9F6501FF"))))

    def process(self, command: Command, channel: int) -> Reply:
        """Answer GET DATA 5A; 6A88 for other data objects, 6E00 and 6D00 for other commands."""
        if not command.cla & 0x80:
            return Reply(sw=0x6E00)
        if command.cla & 0x0C:
            return Reply(sw=0x6882)
        if command.ins != _INS_GET_DATA:
            return Reply(sw=0x6D00)
        if (command.p1 << 8 | command.p2) != _TAG_EID:
            return Reply(sw=0x6A88)
        return Reply(encode(0x5A, self._identity.eid))

    def deselect(self, channel: int) -> None:
        """Keep nothing for a channel."""

    def reset(self) -> None:
        """Keep nothing in RAM."""
