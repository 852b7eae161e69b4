"""The network of a simulated modem: registration, signal, and the operator configuration that can keep it out.

Registration follows the SIM: some seconds after it is ready the modem registers with the IMSI that it read at the
SIM's start, whatever was enabled on the card since. A profile without an IMSI never registers. Sans-IO.
"""

from __future__ import annotations

import random

from esim_bench.codec import at
from esim_bench.data import Dialect
from esim_drivers.sim.modem_card import ModemCard, Refused

COMMANDS = ("+CREG", "+CGREG", "+CEREG", "+C5GREG")
_NONE, _HOME, _SEARCHING, _ROAMING = 0, 1, 2, 5
"""States of registration (TS 27.007 10.1.22)."""
_NEIGHBOUR = 2
"""How far the signal goes from its middle, by chance."""
_GENERIC = ("ROW_GENERIC_3GPP", "ROW_COMMERCIAL", "GENERIC")


class Network:
    """What a modem knows of the network. ``active`` of AT+QMBNCFG is in its flash and outlives the power."""

    def __init__(self, dialect: Dialect, sim: ModemCard, rng: random.Random) -> None:
        self._manners = dialect.network
        self._errors = dialect.errors
        self._sim = sim
        self._rng = rng
        self._mbn = dialect.quirks.mbn
        self._mbn_next = self._mbn
        self._has_mbn = dialect.quirks.mbn is not None
        self._told: dict[str, int] = {}
        self._home: bool | None = None
        self._searching = False

    @property
    def register_s(self) -> float:
        """Return how long it takes from a SIM that is ready to the registration."""
        return self._manners.register_s

    def defaults(self) -> None:
        """Go back to the settings of a boot; a chosen operator configuration takes effect."""
        self._told = dict.fromkeys(COMMANDS, 0)
        self._mbn = self._mbn_next
        self.lose()

    # ------------------------------------------------------------------------------------------------- state

    def search(self) -> None:
        """Begin to look for a network: the SIM is ready."""
        self._home, self._searching = None, self._sim.terminal.imsi is not None

    def register(self) -> list[str]:
        """Register, unless something keeps it out; return the lines that tell of it."""
        imsi = self._sim.terminal.imsi
        if imsi is None or not self._searching or self._mbn is not None:
            return []
        self._home, self._searching = imsi.startswith(self._manners.plmn), False
        return self._tell()

    def lose(self) -> list[str]:
        """Lose the network; return the lines that tell of it."""
        there = self._home is not None
        self._home, self._searching = None, False
        return self._tell() if there else []

    @property
    def state(self) -> int:
        """Return the state of registration."""
        if self._home is None:
            return _SEARCHING if self._searching else _NONE
        return _HOME if self._home else _ROAMING

    def _tell(self) -> list[str]:
        return [f"{name}: {self.state}" for name in COMMANDS if self._told.get(name)]

    # ------------------------------------------------------------------------------------------------- commands

    def registration(self, name: str, form: str, parameters: str) -> tuple[str, ...]:
        """AT+CREG and its kind (27.007 7.2, 10.1.20, 10.1.22, 10.1.47). Raises Refused."""
        if form == "?":
            return (f"{name}: {self._told.get(name, 0)},{self.state}",)
        if form != "=" or parameters not in ("0", "1", "2"):
            raise Refused(self._errors.parameters)
        self._told[name] = int(parameters)
        return ()

    def operator(self, form: str) -> tuple[str, ...]:
        """AT+COPS? (27.007 7.3); a choice is taken and changes nothing. Raises Refused."""
        if form == "=":
            return ()
        if form != "?":
            raise Refused(self._errors.parameters)
        return ("+COPS: 0",) if self._home is None else (f'+COPS: 0,2,"{self._manners.plmn}",7',)

    def signal(self) -> tuple[str, ...]:
        """AT+CSQ (27.007 8.5): 99 without a network."""
        if self.state == _NONE:
            return ("+CSQ: 99,99",)
        return (f"+CSQ: {self._around(self._manners.rssi, 31)},99",)

    def extended_signal(self) -> tuple[str, ...]:
        """AT+CESQ (27.007 8.69): 99 and 255 where nothing is known."""
        if self.state == _NONE:
            return ("+CESQ: 99,99,255,255,255,255",)
        rsrq, rsrp = self._around(self._manners.rsrq, 34), self._around(self._manners.rsrp, 97)
        return (f"+CESQ: 99,99,255,255,{rsrq},{rsrp}",)

    def _around(self, middle: int, most: int) -> int:
        return min(most, max(0, middle + self._rng.randint(-_NEIGHBOUR, _NEIGHBOUR)))

    def configuration(self, form: str, parameters: str) -> tuple[str, ...]:
        """AT+QMBNCFG: List, Select, Deactivate, AutoSel; a choice takes effect with the next reset. Raises Refused."""
        values = at.fields(parameters) if parameters else []
        if not self._has_mbn:
            raise Refused(self._errors.unknown)
        if form != "=" or not values:
            raise Refused(self._errors.parameters)
        match values[0].upper(), values[1:]:
            case "LIST", []:
                current = self._mbn or "ROW_Generic_3GPP"
                return (f'+QMBNCFG: "List",0,1,1,"{current}",0x05010820,201807061',)
            case "SELECT", []:
                return (f'+QMBNCFG: "Select","{self._mbn_next or "ROW_Generic_3GPP"}"',)
            case "SELECT", [name]:
                self._mbn_next = None if name.upper() in _GENERIC else name
            case "DEACTIVATE", []:
                self._mbn_next = None
            case "AUTOSEL", [("0" | "1")] | []:
                # Off alone leaves what is active as it is.
                pass
            case _:
                raise Refused(self._errors.parameters)
        return ()
