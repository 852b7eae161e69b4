"""What the sniffer's messages mean, as events of a slot's time line. Pure: stamps come in from outside."""

from __future__ import annotations

from collections import Counter
from typing import Final

from esim_bench.codec.atr import Atr
from esim_bench.errors import CodecError
from esim_bench.events import Event, MarkEvent, SniffedApduEvent, SniffEvent, SniffKind
from esim_drivers.simtrace.messages import (
    Change,
    ChangeMessage,
    DataMessage,
    FidiMessage,
    Flaw,
    Kind,
    Message,
    flaws_text,
)
from esim_drivers.simtrace.tpdu import HEADER, Apdu, BlockChains, Exchanges, parse_blocks

_CHANGES: Final = (
    # A reset that was asserted and released since the last message comes in one: in this order it happened.
    (Change.EJECT, SniffKind.EJECT),
    (Change.INSERT, SniffKind.INSERT),
    (Change.RESET, SniffKind.RESET),
    (Change.RELEASE, SniffKind.RELEASE),
    (Change.TIMEOUT, SniffKind.TIMEOUT),
)
_FI: Final = (372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0)
_DI: Final = (0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0)
_T1: Final = 1


class Ear:
    """Follows one sniffed interface."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.exchanges = 0
        self.flaws: Counter[str] = Counter()
        self._exchanges = Exchanges()
        self._chains: BlockChains | None = None
        """Set while the card speaks T=1."""
        self._last = -1
        self._counted = False
        """Whether this firmware numbers its messages: some leave the number zero."""

    def feed(self, message: Message, at_ns: int) -> list[Event]:
        """Return the events of a message that came at a time (an exchange's stamp is that of its end)."""
        events: list[Event] = []
        if missing := self._missing(message.sequence):
            self.flaws["lost"] += missing
            events.append(MarkEvent(at_ns, f"{self.source}: {missing} messages of the sniffer are missing"))
        match message:
            case ChangeMessage(flags=flags):
                events += [SniffEvent(at_ns, kind, self.source) for flag, kind in _CHANGES if flag in flags]
            case FidiMessage(fidi=fidi):
                events.append(SniffEvent(at_ns, SniffKind.SPEED, self.source, bytes((fidi,)), speed_text(fidi)))
            case DataMessage(kind=Kind.ATR):
                events.append(self._atr(message, at_ns))
            case DataMessage(kind=Kind.PPS):
                events.append(self._pps(message, at_ns))
            case DataMessage():
                events += self._tpdu(message, at_ns)
        return events

    def interrupted(self) -> None:
        """Take note that the sniffer was lost: what comes next has nothing to do with what came before."""
        self._chains = None
        self._last, self._counted = -1, False

    def summary(self) -> str:
        """Return what was heard in all, as one line."""
        flaws = ", ".join(f"{count} {flaw}" for flaw, count in sorted(self.flaws.items())) or "none flawed"
        return f"{self.source}: {self.exchanges} exchanges heard, {flaws}"

    def _missing(self, sequence: int) -> int:
        last, self._last = self._last, sequence
        if last < 0:
            return 0
        step = (sequence - last) & 0xFF
        if step == 1:
            self._counted = True
        return (step - 1) & 0xFF if self._counted and step != 1 else 0

    def _atr(self, message: DataMessage, at_ns: int) -> SniffEvent:
        self._chains = None
        detail = self._note(message.flaws)
        try:
            if Atr.parse(message.data).default_protocol == _T1:
                self._chains = BlockChains()
                detail = f"T=1, {detail}" if detail else "T=1"
        except CodecError as exc:
            detail = detail or exc.what
        return SniffEvent(at_ns, SniffKind.ATR, self.source, message.data, detail)

    def _pps(self, message: DataMessage, at_ns: int) -> SniffEvent:
        parts = [self._note(message.flaws)] if message.flaws else []
        if len(message.data) >= 2:
            protocol = message.data[1] & 0x0F
            self._chains = BlockChains() if protocol == _T1 else None
            parts.append(f"T={protocol}")
            if message.data[1] & 0x10 and len(message.data) >= 3:
                parts.append(speed_text(message.data[2]))
        return SniffEvent(at_ns, SniffKind.PPS, self.source, message.data, ", ".join(parts))

    def _tpdu(self, message: DataMessage, at_ns: int) -> list[Event]:
        flaws = self._note(message.flaws)
        if self._chains is not None:
            blocks = parse_blocks(message.data)
            if blocks is None:
                detail = f"T=1, which this firmware does not follow{f'; {flaws}' if flaws else ''}"
                return [SniffEvent(at_ns, SniffKind.NOISE, self.source, message.data, detail)]
            found = [apdu for block in blocks if (apdu := self._chains.feed(block)) is not None]
            return [self._exchange(apdu, flaws, at_ns) for apdu in found]
        if len(message.data) < HEADER:
            return [SniffEvent(at_ns, SniffKind.NOISE, self.source, message.data, flaws or "too short")]
        apdu = self._exchanges.feed(message.data)
        if not apdu.sound and not flaws:
            flaws = self._note(Flaw.MALFORMED)
        return [self._exchange(apdu, flaws, at_ns)]

    def _exchange(self, apdu: Apdu, flaws: str, at_ns: int) -> SniffedApduEvent:
        self.exchanges += 1
        # The sniffer sends an exchange when it is over; how long it took does not show.
        return SniffedApduEvent(at_ns, apdu.command, apdu.response, 0, self.source, flaws)

    def _note(self, flaws: Flaw) -> str:
        text = flaws_text(flaws)
        self.flaws.update(text.split(", ") if text else ())
        return text


def speed_text(fidi: int) -> str:
    """Say a speed (TA1, ISO/IEC 7816-3 tables 7 and 8) in words: ``Fi 512, Di 32``."""
    fi, di = _FI[fidi >> 4], _DI[fidi & 0x0F]
    return f"Fi {fi or '?'}, Di {di or '?'}"
