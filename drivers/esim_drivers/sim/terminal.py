"""The terminal's side of a card, as a modem plays it: start-up, GET RESPONSE, proactive commands (TS 102 221, 102 223).

Sans-IO: it talks to the card directly and says how long that took.
"""

from __future__ import annotations

from typing import Protocol

from esim_bench.codec import comprehension, tlv
from esim_bench.codec.apdu import Command
from esim_bench.errors import CodecError

TERMINAL_CAPABILITY = bytes.fromhex("80AA00000AA9088100820101830107")
"""Extended logical channels, additional interfaces, a full LPA in the device (TS 102 221 11.1.19.2.4)."""
TERMINAL_PROFILE = bytes.fromhex("801000000C") + bytes.fromhex("FFFFFFFF7F0F00DF7FFF0300")
_STATUS = bytes.fromhex("80F2000C")
_SELECT_MF = bytes.fromhex("00A40004023F00")
_SELECT_ICCID = bytes.fromhex("00A40004022FE2")
_SELECT_DIR = bytes.fromhex("00A40004022F00")
_SELECT_IMSI = bytes.fromhex("00A40004026F07")
_READ_ICCID = bytes.fromhex("00B000000A")
_READ_IMSI = bytes.fromhex("00B0000009")
_READ_RECORD_1 = bytes.fromhex("00B2010400")
_REFRESH = 0x01
_SWITCHES = (0x04, 0x09)
"""REFRESH modes after which the card starts anew: UICC Reset, eUICC Profile State Change (TS 102 223 8.6)."""
_POLL_INTERVAL, _DURATION = 0x03, 0x04
_PERFORMED = (*range(0x01, 0x06), 0x21, 0x25)
"""What a modem without a user performs: REFRESH to SET UP EVENT LIST; texts and menus, which nobody sees."""
_MOST_COMMANDS = 20


class Card(Protocol):
    """What a simulated card offers to whatever it is plugged into; times in seconds. Raises PowerLost."""

    def power_on(self) -> bytes:
        """Reset it cold; return the ATR."""

    def reset(self) -> bytes:
        """Reset it warm; return the ATR."""

    def power_off(self) -> None:
        """Take its power away."""

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        """Execute a C-APDU: the R-APDU, and how long it took."""


class Terminal:
    """A modem's view of its card. ``seconds`` adds up what its own exchanges take."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._seconds = 0.0
        self.iccid: str | None = None
        """What the modem read at the last start; it goes on saying it, whatever the card became meanwhile."""
        self.imsi: str | None = None
        self.wants_pin = False

    def take_seconds(self) -> float:
        """Return the time since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    # ------------------------------------------------------------------------------------------------- start-up

    def start(self, *, cold: bool) -> None:
        """Reset the card and start it up: capabilities, profile, ICCID and IMSI."""
        if cold:
            self._card.power_on()
        else:
            self._card.reset()
        self.iccid = self.imsi = None
        self.wants_pin = False
        self.exchange(_SELECT_MF)
        self.exchange(TERMINAL_CAPABILITY)
        self.iccid = self._read_iccid()
        self.finish(self.exchange(TERMINAL_PROFILE)[1])
        self.imsi = self._read_imsi()
        self.finish(self.exchange(_STATUS)[1])

    def _read_iccid(self) -> str | None:
        if not _good(self.exchange(_SELECT_ICCID)[1]):
            return None
        data, sw = self.exchange(_READ_ICCID)
        return _swapped(data).rstrip("F") if _good(sw) and data else None

    def _read_imsi(self) -> str | None:
        """Read EF.IMSI of the first USIM in EF.DIR (TS 31.102 4.2.2); None where there is no such file."""
        self.exchange(_SELECT_MF)
        if not _good(self.exchange(_SELECT_DIR)[1]):
            return None
        record, sw = self.exchange(_READ_RECORD_1)
        try:
            aid = tlv.parse_prefix(record).find(0x4F) if _good(sw) else None
        except CodecError:
            aid = None
        if aid is None:
            return None
        select = bytes(Command(0x00, 0xA4, 0x04, 0x04, aid.value))
        if not _good(self.exchange(select)[1]) or not _good(self.exchange(_SELECT_IMSI)[1]):
            return None
        data, sw = self.exchange(_READ_IMSI)
        self.wants_pin = sw == 0x6982
        if not _good(sw) or len(data) < 2 or not 1 <= data[0] <= 8:
            return None
        return _swapped(data[1 : 1 + data[0]])[1:].rstrip("F")

    # ------------------------------------------------------------------------------------------------- exchanges

    def transmit(self, command: bytes) -> bytes:
        """Pass one C-APDU on as it is."""
        response, seconds = self._card.transmit(command)
        self._seconds += seconds
        return response

    def exchange(self, command: bytes) -> tuple[bytes, int]:
        """Pass a C-APDU on, and follow 61xx and 6Cxx; return all data and the last status word."""
        data = b""
        current = command
        while True:
            response = self.transmit(current)
            sw = int.from_bytes(response[-2:], "big")
            if sw >> 8 == 0x6C and len(current) >= 4:
                current = current[:-1] + bytes((sw & 0xFF,)) if len(current) != 4 else current + bytes((sw & 0xFF,))
                continue
            data += response[:-2]
            if sw >> 8 != 0x61:
                return data, sw
            current = bytes((command[0] & 0x4F, 0xC0, 0x00, 0x00, sw & 0xFF))

    def finish(self, sw: int) -> bool:
        """Fetch and answer proactive commands while a status word announces one; True: a REFRESH wants a reset."""
        refresh = False
        for _ in range(_MOST_COMMANDS):
            if sw >> 8 != 0x91:
                break
            command, fetched = self.exchange(bytes((0x80, 0x12, 0x00, 0x00, sw & 0xFF)))
            if not _good(fetched):
                break
            try:
                members = comprehension.first(tlv.parse(command).value, "of a proactive command")
            except CodecError:
                break
            details = members.get(0x01, b"\0\0\0")
            if len(details) == 3 and details[1] == _REFRESH and details[2] in _SWITCHES:
                refresh = True
            answer = tlv.encode(0x81, details) + _answer(details, members.get(_DURATION, b""))
            sw = self.exchange(bytes(Command(0x80, 0x14, 0x00, 0x00, answer)))[1]
        return refresh


def _answer(details: bytes, duration: bytes) -> bytes:
    """Return what follows the details in TERMINAL RESPONSE: from terminal to UICC, and the result (TS 102 223 8.12)."""
    if len(details) != 3 or details[1] not in _PERFORMED:
        return bytes.fromhex("82028281830130")  # beyond the terminal's capabilities
    # POLL INTERVAL is answered with the interval that the terminal keeps: what the card asked for.
    kept = tlv.encode(0x84, duration) if details[1] == _POLL_INTERVAL and duration else b""
    return bytes.fromhex("82028281830100") + kept


def _good(sw: int) -> bool:
    return sw == 0x9000 or sw >> 8 in (0x91, 0x62, 0x63)


def _swapped(data: bytes) -> str:
    return "".join(f"{byte & 0x0F:X}{byte >> 4:X}" for byte in data)
