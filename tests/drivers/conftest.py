"""A scripted card for tests of what lies around a card: readers, modems, links."""

from collections.abc import Callable

import pytest

from esim_drivers.sim.nvm import PowerLost

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
USIM = bytes.fromhex("A0000000871002FFFFFFFF8903020000")
FETCHED_REFRESH = bytes.fromhex("D009810301010482028182")


class ScriptedCard:
    """A card with T=1 manners, an ISD-R that gives every request back, and a profile whose ICCID tells its number.

    STORE DATA of BF31 switches to the next profile and raises REFRESH; ``dies_at`` counts transmitted commands.
    """

    def __init__(self) -> None:
        self.powered = False
        self.log: list[str] = []
        self.profile = 1
        self.resets = 0
        self.dies_at: int | None = None
        self.seconds = 0.01
        self._forget()

    def _forget(self) -> None:
        self.channels = {0: b""}
        self._file = ""
        self._profile_sent = False
        self._refresh = False

    def power_on(self) -> bytes:
        self.powered = True
        self.resets += 1
        self._forget()
        return b"\x3b\x00"

    def reset(self) -> bytes:
        if not self.powered:
            raise PowerLost
        return self.power_on()

    def power_off(self) -> None:
        self.powered = False
        self._forget()

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        if not self.powered:
            raise PowerLost
        self.log.append(command.hex().upper())
        if self.dies_at is not None and len(self.log) > self.dies_at:
            self.dies_at = None
            self.power_off()
            raise PowerLost
        data, sw = self._execute(command)
        if sw == 0x9000 and self._refresh:
            sw = 0x9100 | len(FETCHED_REFRESH)
        return data + sw.to_bytes(2, "big"), self.seconds

    def _execute(self, command: bytes) -> tuple[bytes, int]:
        channel = command[0] & 0x03
        body = command[5 : 5 + command[4]] if len(command) > 5 else b""
        if channel not in self.channels:
            return b"", 0x6881
        match command[1]:
            case 0x70 if command[2] == 0x00:
                number = next((n for n in (1, 2, 3) if n not in self.channels), None)
                if number is None:
                    return b"", 0x6A81
                self.channels[number] = b""
                return bytes((number,)), 0x9000
            case 0x70:
                return b"", 0x9000 if self.channels.pop(command[3], None) is not None else 0x6200
            case 0xA4 if command[2] == 0x04:
                if body not in (ISD_R, USIM):
                    return b"", 0x6A82
                self.channels[channel] = body
                return b"", 0x9000
            case 0xA4:
                self._file = body.hex().upper()
                return b"", 0x9000
            case 0xB0 if self._file == "2FE2":
                return bytes.fromhex("98440000000000000000")[:-1] + bytes((self.profile,)), 0x9000
            case 0xB0 if self._file == "6F07":
                return bytes.fromhex("082926201000000010"), 0x9000
            case 0xB2 if self._file == "2F00":
                return b"\x61\x12\x4f\x10" + USIM, 0x9000
            case 0x10:
                self._profile_sent = True
                return b"", 0x9000
            case 0x12:
                if not self._refresh:
                    return b"", 0x6F00
                self._refresh = False
                return FETCHED_REFRESH, 0x9000
            case 0x14 | 0xAA | 0xF2:
                return b"", 0x9000
            case 0xE2 if self.channels[channel] == ISD_R:
                if body.startswith(b"\xbf\x31"):
                    self.profile += 1
                    self._refresh = self._profile_sent
                return body, 0x9000
        return b"", 0x6D00


@pytest.fixture
def scripted_card() -> Callable[[], ScriptedCard]:
    """Return the class of scripted cards."""
    return ScriptedCard
