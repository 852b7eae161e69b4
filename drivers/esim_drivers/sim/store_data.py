"""STORE DATA chains (SGP.22 5.7.2, GlobalPlatform Card Specification 11.11): blocks in, whole data objects out."""

from __future__ import annotations

from dataclasses import dataclass, field

from esim_bench.codec.apdu import Command
from esim_drivers.sim.euicc import StatusError

INS_STORE_DATA = 0xE2
MORE_BLOCKS = 0x11
LAST_BLOCK = 0x91
MAX_BLOCKS = 256
"""P2 counts from 00 to FF."""


@dataclass(slots=True)
class StoreDataChains:
    """The unfinished chains, one for each logical channel."""

    _blocks: dict[int, list[bytes]] = field(default_factory=dict)

    def receive(self, command: Command, channel: int) -> bytes | None:
        """Take one block; return the whole data after the last one, None before.

        Raises StatusError: 6700 without data, 6A86 for P1 or a block number that is not the next one, 6985 for a later
        block without a first one, 6A84 after 256 blocks. An unfinished chain is abandoned by a new first block.
        """
        if command.p1 not in (MORE_BLOCKS, LAST_BLOCK):
            raise StatusError(0x6A86)
        if not command.data:
            self.forget(channel)
            raise StatusError(0x6700)
        if command.p2 == 0:
            self.forget(channel)
            blocks: list[bytes] = []
        else:
            found = self._blocks.pop(channel, None)
            if found is None:
                raise StatusError(0x6985)
            blocks = found
            if command.p2 != len(blocks):
                raise StatusError(0x6A86)
        blocks.append(command.data)
        if command.p1 == LAST_BLOCK:
            return b"".join(blocks)
        if len(blocks) == MAX_BLOCKS:
            raise StatusError(0x6A84)
        self._blocks[channel] = blocks
        return None

    def forget(self, channel: int) -> None:
        """Abandon the chain of a channel."""
        self._blocks.pop(channel, None)

    def clear(self) -> None:
        """Abandon all chains."""
        self._blocks.clear()
