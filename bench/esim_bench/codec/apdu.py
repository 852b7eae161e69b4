"""C-APDUs and status words (ISO 7816-3 12.1, ISO 7816-4 5), and the logical channel in the CLA (TS 102 221 10.1.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from esim_bench.errors import CodecError


def channel_of(cla: int) -> int:
    """Return the logical channel (0..19) that a CLA addresses."""
    if cla & 0x40 and cla not in (0xFF,):
        return (cla & 0x0F) + 4
    return cla & 0x03


def with_channel(cla: int, channel: int) -> int:
    """Return a CLA moved to a logical channel (0..19). Raises CodecError for another number."""
    if not 0 <= channel <= 19:
        raise CodecError("logical channel out of range", expected="0..19", found=channel)
    base = strip_channel(cla)
    return base | channel if channel < 4 else base | 0x40 | (channel - 4)


def strip_channel(cla: int) -> int:
    """Return a CLA on the basic channel."""
    return cla & 0x80 if cla & 0x40 else cla & 0xFC


@dataclass(frozen=True, slots=True)
class Command:
    """A short C-APDU. ``le`` None: no response data expected; 1..256 (256 is coded 00)."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None

    def __post_init__(self) -> None:
        # Each APDU passes here several times: one test for all that is as it must be.
        le = self.le
        if (
            0 <= self.cla <= 255
            and 0 <= self.ins <= 255
            and 0 <= self.p1 <= 255
            and 0 <= self.p2 <= 255
            and len(self.data) <= 255
            and (le is None or 1 <= le <= 256)
        ):
            return
        for name in ("cla", "ins", "p1", "p2"):
            value = getattr(self, name)
            if not 0 <= value <= 255:
                raise CodecError(f"{name.upper()} of a command", expected="one byte", found=value)
        if len(self.data) > 255:
            raise CodecError("command data too long", expected="at most 255 bytes", found=len(self.data))
        raise CodecError("Le of a command", expected="1..256", found=le)

    def __bytes__(self) -> bytes:
        """Return the bytes of the command: case 1 to 4 of ISO 7816-3 12.1.2."""
        head = bytes((self.cla, self.ins, self.p1, self.p2))
        body = bytes((len(self.data),)) + self.data if self.data else b""
        tail = bytes((self.le & 0xFF,)) if self.le is not None else b""
        return head + body + tail

    @classmethod
    def parse(cls, raw: bytes) -> Command:
        """Parse a short C-APDU. Raises CodecError (also for extended lengths, which no eUICC function uses)."""
        if len(raw) < 4:
            raise CodecError("not a command APDU", expected="at least 4 bytes", found=len(raw))
        cla, ins, p1, p2 = raw[:4]
        rest = raw[4:]
        if not rest:
            return cls(cla, ins, p1, p2)
        if len(rest) == 1:
            return cls(cla, ins, p1, p2, b"", rest[0] or 256)
        length = rest[0]
        if length == 0:
            raise CodecError("not a short command APDU", expected="Lc 1..255", found="00 followed by more bytes")
        data, tail = rest[1 : 1 + length], rest[1 + length :]
        if len(data) != length or len(tail) > 1:
            raise CodecError(
                "command APDU of a wrong length",
                expected=f"Lc = {length} data bytes, at most one Le byte",
                found=f"{len(rest) - 1} bytes",
            )
        return cls(cla, ins, p1, p2, bytes(data), (tail[0] or 256) if tail else None)

    @property
    def channel(self) -> int:
        """Return the logical channel, 0..19."""
        return channel_of(self.cla)

    def on_channel(self, channel: int) -> Command:
        """Return the same command on another logical channel."""
        return replace(self, cla=with_channel(self.cla, channel))


_SW = {
    0x9000: "ok",
    0x6200: "no information given, state unchanged",
    0x6282: "end of file reached",
    0x6283: "selected file invalidated",
    0x6285: "selected file in termination state",
    0x62F1: "more data available",
    0x63F1: "more data expected",
    0x6400: "execution error, state unchanged",
    0x6581: "memory problem",
    0x6601: "checksum error on the interface",
    0x6700: "wrong length",
    0x6881: "logical channel not supported or not open",
    0x6882: "secure messaging not supported",
    0x6981: "command incompatible with file structure",
    0x6982: "security status not satisfied",
    0x6983: "authentication method blocked",
    0x6984: "referenced data invalidated",
    0x6985: "conditions of use not satisfied",
    0x6986: "no EF selected",
    0x6A80: "incorrect data",
    0x6A81: "function not supported",
    0x6A82: "file or application not found",
    0x6A83: "record not found",
    0x6A84: "not enough memory",
    0x6A86: "incorrect P1 P2",
    0x6A87: "Lc inconsistent with P1 P2",
    0x6A88: "referenced data not found",
    0x6B00: "wrong parameters",
    0x6D00: "instruction not supported",
    0x6E00: "class not supported",
    0x6F00: "no precise diagnosis",
    0x9300: "toolkit busy",
    0x9850: "the counter cannot be increased, its maximum is reached",
    0x9862: "authentication error, incorrect MAC",
    0x9864: "authentication error, security context not supported",
}


def sw_text(sw: int) -> str:
    """Say a status word in words."""
    if sw in _SW:
        return _SW[sw]
    high, low = sw >> 8, sw & 0xFF
    match high:
        case 0x61:
            return f"{low or 256} bytes of response wait"
        case 0x6C:
            return f"wrong Le, {low or 256} is right"
        case 0x91:
            return f"ok, a proactive command of {low or 256} bytes waits"
        case 0x63 if low & 0xF0 == 0xC0:
            return f"verification failed, {low & 0x0F} attempts left"
        case 0x62 | 0x63:
            return "warning"
        case 0x90:
            return "ok"
    return "error" if high & 0xF0 == 0x60 else "unknown status word"
