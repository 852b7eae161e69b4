"""What a simulated UICC and the applications in it (ISD-R, ECASD, USIM) expect of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from esim_bench.codec.apdu import Command
from esim_drivers.sim.nvm import Nvm


@dataclass(frozen=True, slots=True)
class Reply:
    """An application's answer: all response data (the UICC does GET RESPONSE), status word, and the time it took."""

    data: bytes = b""
    sw: int = 0x9000
    seconds: float = 0.0


class Application(Protocol):
    """An application that can be selected by its AID."""

    @property
    def aid(self) -> bytes:
        """Return the full AID, 5 to 16 bytes."""

    def select(self, channel: int) -> Reply:
        """Become the selected application of a channel; the data is the FCI (6F...)."""

    def process(self, command: Command, channel: int) -> Reply:
        """Execute a command that came on a channel where this application is selected (CLA channel bits removed)."""

    def deselect(self, channel: int) -> None:
        """Lose a channel: it was closed, or another application was selected."""

    def reset(self) -> None:
        """Forget everything that lives in RAM."""


class CardServices(Protocol):
    """What the UICC offers to the ISD-R."""

    @property
    def nvm(self) -> Nvm:
        """Return the card's persistent memory."""

    @property
    def terminal_profile_seen(self) -> bool:
        """Tell whether the terminal sent TERMINAL PROFILE since the last reset."""

    @property
    def terminal_capability(self) -> bytes | None:
        """Return what the terminal sent as TERMINAL CAPABILITY since the last reset: the members of A9."""

    @property
    def cat_busy(self) -> bool:
        """Tell whether a proactive command waits to be fetched or answered."""

    def queue_refresh(self, mode: int) -> None:
        """Queue a REFRESH proactive command (TS 102 223 6.4.7; 0x04 UICC Reset, 0x09 eUICC Profile State Change)."""

    def mount(self, isdp_aid: bytes | None) -> None:
        """Show the files of another profile from now on (None: no profile); selections of all channels go to the MF.

        At each reset the UICC mounts, by itself, the profile named by the NVM key ``euicc/enabled`` (16 bytes AID).
        """

    @property
    def free_memory(self) -> int:
        """Return the free bytes of persistent memory."""
