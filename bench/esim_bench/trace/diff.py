"""Two traces side by side: which exchanges one has and the other has not, and which were answered differently.

Stamps and durations do not count, masked bytes are taken for equal. Either side may be the bench's own APDUs or those
that a sniffer heard: what T=0 does not carry (Le after data) does not count then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal, TypeAlias

from esim_bench.events import AnyApdu, ApduEvent, SniffedApduEvent
from esim_bench.trace import show
from esim_bench.trace.reader import Record

Side: TypeAlias = Literal["apdu", "sniff"]
SIDES: Final = ("apdu", "sniff")
_EVENTS: Final = {"apdu": ApduEvent, "sniff": SniffedApduEvent}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two traces part: an exchange of one side alone, or one that differs (``what``: command, response)."""

    what: Literal["left", "right", "command", "response"]
    left: Record | None
    right: Record | None

    def lines(self) -> list[str]:
        """Return the difference as text, as ``diff`` does: ``-`` left, ``+`` right."""
        sides = (("-", self.left), ("+", self.right))
        return [f"{sign} {show.line(record)}" for sign, record in sides if record is not None]

    def document(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        sides = {"left": self.left, "right": self.right}
        return {"what": self.what} | {
            name: None if record is None else show.document(record) for name, record in sides.items()
        }


@dataclass(frozen=True, slots=True)
class _Exchange:
    record: Record
    command: bytes
    response: bytes
    hidden_command: frozenset[int]
    hidden_response: frozenset[int]
    key: bytes
    """What says which exchange of the other trace is this one: header, of STORE DATA also the tag."""


def diff(
    left: Iterable[Record], right: Iterable[Record], sides: tuple[Side, Side] = ("apdu", "apdu")
) -> list[Difference]:
    """Return all differences in the order of the traces; an empty list says that they are the same."""
    wire = "sniff" in sides
    ours = [_exchange(record, wire) for record in left if isinstance(record.event, _EVENTS[sides[0]])]
    theirs = [_exchange(record, wire) for record in right if isinstance(record.event, _EVENTS[sides[1]])]
    # What both begin and end with alike costs no search.
    head = _alike(ours, theirs)
    tail = _alike(ours[head:][::-1], theirs[head:][::-1])
    ours, theirs = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    found: list[Difference] = []
    matcher = SequenceMatcher(None, [one.key for one in ours], [one.key for one in theirs], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            found += filter(None, map(_compare, ours[a:b], theirs[c:d]))
        else:
            found += [Difference("left", one.record, None) for one in ours[a:b]]
            found += [Difference("right", None, one.record) for one in theirs[c:d]]
    return found


def _alike(ours: Sequence[_Exchange], theirs: Sequence[_Exchange]) -> int:
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one.key != other.key or _compare(one, other) is not None:
            break
        count += 1
    return count


def _compare(one: _Exchange, other: _Exchange) -> Difference | None:
    if not _same(one.command, other.command, one.hidden_command | other.hidden_command):
        return Difference("command", one.record, other.record)
    if not _same(one.response, other.response, one.hidden_response | other.hidden_response):
        return Difference("response", one.record, other.record)
    return None


def _same(one: bytes, other: bytes, hidden: frozenset[int]) -> bool:
    if one == other:
        return True
    if len(one) != len(other) or not hidden:
        return False
    return all(a == b or place in hidden for place, (a, b) in enumerate(zip(one, other, strict=True)))


def _exchange(record: Record, wire: bool) -> _Exchange:
    event: AnyApdu = record.event  # type: ignore[assignment]  # chosen by its type
    size = len(event.command)
    hidden = {place for start, count in record.masked for place in range(start, start + count)}
    command = event.command
    if wire:
        command = command + b"\0" if size == 4 else command[: 5 + command[4]] if size > 5 else command
    return _Exchange(
        record,
        command,
        event.response,
        frozenset(place for place in hidden if place < size),
        frozenset(place - size for place in hidden if place >= size),
        command[:4] + (command[5:7] if command[1:2] == b"\xe2" and command[3:4] == b"\0" else b""),
    )
