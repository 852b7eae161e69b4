"""What a modem says of its SIM, its network and its signal, as typed values (3GPP TS 27.007 and the makers' ICCIDs)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from esim_bench.codec.at import cme_code, cms_code, fields, name_of
from esim_bench.errors import CodecError

_ICCID: Final = re.compile(r"(?<![0-9A-Za-z])([0-9]{18,20})[Ff]{0,2}(?![0-9A-Za-z])")
_DIGITS: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{5,15}(?![0-9A-Za-z])")
_UNKNOWN: Final = 99
_UNKNOWN_LONG: Final = 255


class SimStatus(Enum):
    """How the SIM is, as the modem says it (27.007 8.3, and the errors of 9.2 in its place)."""

    READY = "ready"
    PIN = "wants a PIN"
    PUK = "wants a PUK"
    ABSENT = "not inserted"
    BUSY = "busy"
    FAILURE = "failure"
    OFF = "no power"
    OTHER = "wants something else"


class Functionality(IntEnum):
    """AT+CFUN (27.007 8.2); makers have more values."""

    MINIMUM = 0
    FULL = 1
    NO_TRANSMIT = 2
    NO_RECEIVE = 3
    RADIO_OFF = 4


class RegistrationState(Enum):
    """The state of registration (27.007 7.2, 10.1.20, 10.1.22)."""

    NOT_SEARCHING = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5
    HOME_SMS = 6
    ROAMING_SMS = 7
    EMERGENCY = 8
    HOME_NO_CSFB = 9
    ROAMING_NO_CSFB = 10
    EMERGENCY_ATTACHED = 11

    @property
    def registered(self) -> bool:
        """Tell whether the modem is registered for more than SMS and emergency calls."""
        return self in (
            RegistrationState.HOME,
            RegistrationState.ROAMING,
            RegistrationState.HOME_NO_CSFB,
            RegistrationState.ROAMING_NO_CSFB,
        )


REGISTRATION_COMMANDS: Final = {"cs": "+CREG", "ps": "+CGREG", "eps": "+CEREG", "5gs": "+C5GREG"}
"""The domains of registration and their commands."""


@dataclass(frozen=True, slots=True)
class Signal:
    """The signal; None for what the modem does not know. dBm and dB, each the lower end of its step."""

    rssi_dbm: int | None = None
    """27.007 8.5, -113 to -51."""
    ber: int | None = None
    """Channel bit error rate, RXQUAL 0..7."""
    rscp_dbm: int | None = None
    ecno_db: float | None = None
    rsrq_db: float | None = None
    rsrp_dbm: int | None = None


def sim_status(lines: Iterable[str], final: str) -> SimStatus:
    """Read the answer to AT+CPIN?, an error included."""
    for line in lines:
        if name_of(line) == "+CPIN":
            text = line.partition(":")[2].strip().strip('"').upper()
            if text == "READY":
                return SimStatus.READY
            if text in ("NOT INSERTED", "NOT READY", "ABSENT", "SIM NOT INSERTED"):
                return SimStatus.BUSY if text == "NOT READY" else SimStatus.ABSENT
            if "PUK" in text:
                return SimStatus.PUK
            return SimStatus.PIN if "PIN" in text else SimStatus.OTHER
    code = cme_code(final)
    if code is None:
        # The SMS errors of 27.005 have the same meanings 300 higher.
        code = (cms_code(final) or 300) - 300
    return {
        10: SimStatus.ABSENT,
        11: SimStatus.PIN,
        12: SimStatus.PUK,
        13: SimStatus.FAILURE,
        14: SimStatus.BUSY,
    }.get(code, SimStatus.FAILURE)


def functionality(lines: Iterable[str]) -> int | None:
    """Read the answer to AT+CFUN?; None where there is no such line."""
    for line in lines:
        if name_of(line) == "+CFUN":
            number = fields(line.partition(":")[2])[0]
            return _number(number)
    return None


def registration(lines: Iterable[str], name: str) -> RegistrationState | None:
    """Read the answer to AT+CREG? and its kind; None where there is no such line.

    An unsolicited line of the same name has no first parameter <n>; where both came the answer is taken.
    """
    found: RegistrationState | None = None
    for line in lines:
        if name_of(line) != name:
            continue
        values = fields(line.partition(":")[2])
        # The unsolicited form goes on with a quoted area, or ends.
        is_answer = len(values) >= 2 and values[1].isdigit() and '"' not in line.partition(",")[2].partition(",")[0]
        state = _state(values[1] if is_answer else values[0])
        if is_answer:
            return state
        found = state
    return found


def _state(text: str) -> RegistrationState:
    number = _number(text)
    try:
        return RegistrationState(number)
    except ValueError:
        return RegistrationState.UNKNOWN


def signal(csq: Iterable[str], cesq: Iterable[str]) -> Signal:
    """Read the answers to AT+CSQ and AT+CESQ (27.007 8.5, 8.69); what is missing or malformed stays None."""
    rssi = ber = rscp = rsrp = None
    ecno = rsrq = None
    for line in csq:
        if name_of(line) == "+CSQ":
            values = _numbers(line, 2)
            rssi = _scaled(values[0], 31, _UNKNOWN, lambda n: -113 + 2 * n)
            ber = _scaled(values[1], 7, _UNKNOWN, lambda n: n)
    for line in cesq:
        if name_of(line) == "+CESQ":
            values = _numbers(line, 6)
            if rssi is None:
                rssi = _scaled(values[0], 63, _UNKNOWN, lambda n: -111 + n)
            if ber is None:
                ber = _scaled(values[1], 7, _UNKNOWN, lambda n: n)
            rscp = _scaled(values[2], 96, _UNKNOWN_LONG, lambda n: -121 + n)
            ecno = None if (n := _scaled(values[3], 49, _UNKNOWN_LONG, lambda n: n)) is None else -24.5 + n / 2
            rsrq = None if (n := _scaled(values[4], 34, _UNKNOWN_LONG, lambda n: n)) is None else -20.0 + n / 2
            rsrp = _scaled(values[5], 97, _UNKNOWN_LONG, lambda n: -141 + n)
    return Signal(rssi, ber, rscp, ecno, rsrq, rsrp)


def iccid(lines: Iterable[str]) -> str | None:
    """Read an ICCID (18 to 20 digits) from whatever a maker's command answers; None without one.

    A filler F at its end is dropped.
    """
    for line in lines:
        found = _ICCID.search(line)
        if found is not None:
            return found[1]
    return None


def digits(lines: Iterable[str]) -> str | None:
    """Read an IMSI or IMEI, with or without the command's name and quotes; None without one."""
    for line in lines:
        found = _DIGITS.search(line.partition(":")[2] if name_of(line) else line)
        if found is not None:
            return found[0]
    return None


def _numbers(line: str, wanted: int) -> list[int | None]:
    try:
        found = [_number(text) for text in fields(line.partition(":")[2])]
    except CodecError:
        found = []
    return (found + [None] * wanted)[:wanted]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _scaled(number: int | None, most: int, unknown: int, scale: Callable[[int], int]) -> int | None:
    if number is None or number == unknown or number > most:
        return None
    return scale(number)
