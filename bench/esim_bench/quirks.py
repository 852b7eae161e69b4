"""What modules do beside the standards: the ``[quirks]`` and ``[network]`` tables of a dialect.

The simulated modem plays them; the AT driver reads none of them, it has to survive. Chances are drawn from the slot's
seeded source, and nothing is drawn for a quirk that a module does not have.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Chance = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""0 never, 1 always."""
_Seconds = Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False)]
_Line = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x20-\x7e]+$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quirks(_Table):
    """The ``[quirks]`` table: what a module does that nobody asked for."""

    # --- the line
    echo_end: Literal["cr", "crlf"] = "cr"
    """What ends the echo of a command: CR, so that ``AT\\r\\r\\nOK`` comes, or CR LF."""
    noise: tuple[_Line, ...] = ()
    """Unsolicited lines that fall between the lines of an answer."""
    noise_chance: Chance = 0.0
    """That one does, for each place between two lines."""
    lost_in: Chance = 0.0
    """That a byte from the host is lost: a UART without flow control, too fast."""
    lost_out: Chance = 0.0
    """That a byte to the host is lost."""
    ignored: Chance = 0.0
    """That a command is neither executed nor answered."""
    withheld: Chance = 0.0
    """That an answer is held back, until it comes glued before the next one, or after ``withheld_s``."""
    withheld_s: _Seconds = 60.0
    verbose: bool = False
    """Errors are verbose whatever +CMEE says."""
    texts: dict[Annotated[int, Field(ge=0, le=65535)], _Line] = {}
    """Verbose texts of its own, by number of the +CME ERROR."""

    # --- boot and enumeration
    garbage: Annotated[int, Field(ge=0, le=4096)] = 0
    """Bytes of line noise that a boot begins with."""
    slow_boot: Chance = 0.0
    """That a boot takes ``slow_boot_factor`` times as long."""
    slow_boot_factor: Annotated[float, Field(ge=1.0, le=20.0, allow_inf_nan=False)] = 3.0
    busy_s: _Seconds = 0.0
    """How long after its boot every command is answered by ``+CME ERROR: SIM busy``, even AT&C1."""
    reenumerates: tuple[Literal["power", "reboot", "refresh", "cfun"], ...] = ()
    """What makes the port vanish and come back under a new name: ``power``: it is not there before the module is up;
    ``reboot``: a reset of the module; ``refresh``: a REFRESH of the SIM; ``cfun``: AT+CFUN that switches the SIM.
    """
    away_s: _Seconds = 2.0
    """How long it is gone."""

    # --- the SIM
    hot_plug: bool = True
    """Whether a card that is inserted is noticed; if not, the SIM's power must be switched (AT+CFUN)."""
    missed_urcs: Chance = 0.0
    """That a line about a change of the SIM is not sent: low-power modules sleep."""
    busy: Chance = 0.0
    """That a command to the SIM is refused with SIM busy, and does not reach the card."""
    open_fails: Annotated[int, Field(ge=0, le=100)] = 0
    """How often AT+CCHO fails after each start of the SIM before it works."""
    ccho_fails: bool = False
    """Whether AT+CCHO exists, takes its parameters and always fails."""
    csim_opens: bool = True
    """Whether MANAGE CHANNEL gets through AT+CSIM."""
    hang_after: Annotated[int, Field(ge=1, le=19)] | None = None
    """With so many channels left open one more AT+CCHO (or MANAGE CHANNEL) hangs the module until it is reset."""
    refresh: Literal["reset", "ignored"] = "reset"
    """Whether the module resets the SIM after a REFRESH; if not, the old profile stays until AT+CFUN=0, AT+CFUN=1."""
    last_block_error: Chance = 0.0
    """That the last block of a long STORE DATA chain is answered by ERROR, though the card executed it."""
    last_block_from: Annotated[int, Field(ge=1, le=1000)] = 3
    """From how many blocks on a chain is long."""
    dead_after: Annotated[int, Field(ge=1, le=100)] | None = None
    """After so many of these errors the SIM fails until it loses its power."""
    checksum_above: Annotated[int, Field(ge=1, le=255)] | None = None
    """Longer data gets the status word 6601 by ``checksum_chance``, and does not reach the card."""
    checksum_chance: Chance = 1.0
    select_sim: _Line | None = None
    """The command that chooses the SIM of this slot, accepted with +CFUN 0 or 4; before it there is no SIM."""

    # --- the network
    mbn: _Line | None = None
    """The operator's configuration that is active: with it the module never registers, until AT+QMBNCFG chooses the
    generic one, or none, and the module was reset."""


class NetworkManners(_Table):
    """The ``[network]`` table: how the module comes to the (simulated) network."""

    register_s: _Seconds = 3.0
    """From a SIM that is ready to the registration, for a profile that has an IMSI."""
    plmn: Annotated[str, Field(pattern=r"^[0-9]{5,6}$")] = "00101"
    """The network that is there: an IMSI of it is at home, every other one roams."""
    rssi: Annotated[int, Field(ge=0, le=31)] = 20
    """The middle of what +CSQ tells (27.007 8.5)."""
    rsrq: Annotated[int, Field(ge=0, le=34)] = 22
    rsrp: Annotated[int, Field(ge=0, le=97)] = 56
    """The middle of what +CESQ tells (27.007 8.69)."""
