"""A journal as the script of a card: resets, opened sessions, commands with their responses, in the order of the time
line. The one module of the drivers that reads traces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from esim_bench.codec.apdu import channel_of
from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, SniffedApduEvent, SniffEvent, SniffKind
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.reader import Reader, Record
from esim_bench.trace.show import annotated, printable

Source: TypeAlias = Literal["link", "sniffed"]
SOURCES: Final = ("link", "sniffed")
_CCHO: Final = re.compile(r'AT\+CCHO="?([0-9A-Fa-f]+)"?', re.IGNORECASE)
_CARRIES: Final = re.compile(r"AT\+(?:CSIM|CGLA|CCHO)=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reset:
    """The card answered a reset."""

    number: int
    """Of the record in the journal, from 1, as ``trace show`` counts."""
    at_ns: int
    atr: bytes

    @property
    def text(self) -> str:
        """Say it in words."""
        return f"a reset of the card (ATR {self.atr.hex().upper()})"


@dataclass(frozen=True, slots=True)
class Opened:
    """A modem was asked to open an application; ``session`` None: it refused."""

    number: int
    at_ns: int
    aid: bytes
    session: int | None

    @property
    def text(self) -> str:
        """Say it in words."""
        return f"a session with {self.aid.hex().upper()}"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A command and its response. ``wild``: places in the command that are masked, so that anything may stand there."""

    number: int
    at_ns: int
    command: bytes
    response: bytes
    duration_ns: int
    session: int
    wild: frozenset[int]
    masked: int
    """Masked bytes of the response, which are served as they stand in the journal."""
    meaning: str
    sniffed: bool = False

    @property
    def text(self) -> str:
        """Say it in words."""
        return f"{shortened(self.command)} ({_function(self.meaning)})"

    def matches(self, command: bytes, session: int) -> bool:
        """Tell whether a command is this one, masked places aside."""
        if self.sniffed:
            return _same(_on_wire(self.command), _on_wire(command), self.wild)
        return session == self.session and _same(self.command, command, self.wild)

    def first_difference(self, command: bytes) -> int | None:
        """Return the first place where a command is another; None where it is not."""
        ours, theirs = (
            (_on_wire(self.command), _on_wire(command)) if self.sniffed else (self.command, command)
        )  # fmt: skip
        for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            if one != other and place not in self.wild:
                return place
        return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


Step: TypeAlias = Reset | Opened | Exchanged


@dataclass(frozen=True, slots=True)
class Script:
    """All that one slot's card said in a journal."""

    path: Path
    slot: str
    steps: tuple[Step, ...]
    began_ns: int
    by_modem: bool
    """The card was reached through a modem, which is its terminal."""
    sessions: bool
    """It was reached by the modem's sessions."""
    max_data: int
    """The most command data of one STORE DATA block, as the link of that time could carry it."""

    @property
    def exchanges(self) -> int:
        """Return the number of commands."""
        return sum(isinstance(step, Exchanged) for step in self.steps)

    def when(self, step: Step) -> str:
        """Return when a step was, in seconds since the beginning of the journal."""
        return f"{(step.at_ns - self.began_ns) / 1e9:.6f} s"


def read_script(path: Path, slot: str | None, source: Source) -> Script:
    """Read a journal. Raises ConfigError: no such file or slot, several slots and none named, nothing to replay."""
    with Reader(path) as reader:
        name = _slot(reader, slot)
        began: int | None = None
        lines: list[AtEvent] = []
        steps: list[Step] = []
        opener = _Opener()
        for record in annotated(reader):
            if record.slot != name:
                continue
            began = record.at_ns if began is None else began
            if isinstance(record.event, AtEvent):
                if _CARRIES.search(record.event.line):
                    lines.append(record.event)
                if source == "link":
                    steps += opener.feed(record.index + 1, record.event)
                continue
            steps += _steps(record, source)
        steps += opener.end()
    steps.sort(key=lambda step: step.number)
    if not any(isinstance(step, Exchanged) for step in steps):
        raise ConfigError("nothing to replay", where=str(path), expected=f"APDUs of the {source} in slot {name!r}")
    by_modem = source == "link" and bool(lines)
    sessions = by_modem and any(isinstance(step, Opened) and step.session is not None for step in steps)
    return Script(path, name, tuple(steps), began or 0, by_modem, sessions, _max_data(steps))


def _slot(reader: Reader, slot: str | None) -> str:
    known = list(dict.fromkeys(reader.slots))
    if slot is None and len(known) == 1:
        return known[0]
    if slot in known:
        return str(slot)
    found = repr(slot) if slot is not None else "no slot named"
    raise ConfigError(
        "which slot of the journal?", where=str(reader.path), expected=f"one of {', '.join(known)}", found=found
    )


def _steps(record: Record, source: Source) -> Iterator[Step]:
    event, number = record.event, record.index + 1
    if source == "link":
        if isinstance(event, AtrEvent):
            yield Reset(number, event.at_ns, event.atr)
        elif isinstance(event, ApduEvent) and len(event.response) >= 2:
            yield _exchanged(record, event, event.session)
    elif isinstance(event, SniffEvent):
        if event.kind is SniffKind.ATR:
            yield Reset(number, event.at_ns, event.data)
    elif isinstance(event, SniffedApduEvent) and len(event.response) >= 2 and not event.flaws:
        yield _exchanged(record, event, 0)


def _exchanged(record: Record, event: ApduEvent | SniffedApduEvent, session: int) -> Exchanged:
    size = len(event.command)
    hidden = {place for start, count in record.masked for place in range(start, start + count)}
    return Exchanged(
        number=record.index + 1,
        at_ns=event.at_ns,
        command=event.command,
        response=event.response,
        duration_ns=event.duration_ns,
        session=session,
        wild=frozenset(place for place in hidden if place < size),
        masked=sum(place >= size for place in hidden),
        meaning=printable(record.comment),
        sniffed=isinstance(event, SniffedApduEvent),
    )


class _Opener:
    """Follows the AT lines: which AT+CCHO came to a session. The link numbers its sessions from 1."""

    def __init__(self) -> None:
        self._asked: tuple[int, int, bytes] | None = None
        self._sessions = 0

    def feed(self, number: int, event: AtEvent) -> Iterator[Opened]:
        if event.direction == ">":
            yield from self.end()
            if found := _CCHO.match(event.line):
                self._asked = number, event.at_ns, bytes.fromhex(found[1][: len(found[1]) & ~1])
        elif event.direction == "<" and self._asked is not None and event.line.strip() == "OK":
            self._sessions += 1
            asked, self._asked = self._asked, None
            yield Opened(*asked, self._sessions)

    def end(self) -> Iterator[Opened]:
        """Give up what was asked for last: no OK came."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            yield Opened(*asked, None)


def _max_data(steps: Sequence[Step]) -> int:
    """Return how long STORE DATA blocks are that are not the last of their chain; 255 where there is none."""
    for step in steps:
        # INS E2 without the bit of the last block (SGP.22 5.7.2).
        if isinstance(step, Exchanged) and step.command[1:2] == b"\xe2" and not step.command[2] & 0x80:
            return max(1, step.command[4])
    return 255


def _on_wire(command: bytes) -> bytes:
    """Return a command without what T=0 does not carry: no Le after data, P3 always (ISO/IEC 7816-3 12.2)."""
    if len(command) == 4:
        return command + b"\0"
    return command[: 5 + command[4]] if len(command) > 5 else command


def _same(recorded: bytes, command: bytes, wild: frozenset[int]) -> bool:
    if recorded == command:
        return True
    return (
        bool(wild)
        and len(recorded) == len(command)
        and all(one == other or place in wild for place, (one, other) in enumerate(zip(recorded, command, strict=True)))
    )


class Describer:
    """Says what the commands of the run mean, which need those before them."""

    def __init__(self) -> None:
        self._decoder = ApduDecoder()

    def follow(self, event: ApduEvent | AtrEvent) -> None:
        """Take note of what happened."""
        self._decoder.observe(event)

    def describe(self, command: bytes, session: int) -> str:
        """Return a command in words, in short; it is taken for one without an answer."""
        meaning = self._decoder.interpret(ApduEvent(0, command, b"", 0, session)).text
        channel = channel_of(command[0]) if command else 0
        where = f"session {session}" if session else f"channel {channel}"
        return f"{shortened(command)} ({printable(_function(meaning))}, {where})"


def _function(meaning: str) -> str:
    """Return what was asked for, of a meaning that says also how it ended."""
    return meaning.partition(" -> ")[0].partition(" block ")[0]


def shortened(command: bytes) -> str:
    """Return a command in hex, its middle left out where it is long."""
    text = command.hex().upper()
    return text if len(text) <= 48 else f"{text[:36]}..{text[-8:]}"
