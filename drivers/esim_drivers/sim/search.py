"""SEARCH RECORD: finding a string in the records of a file (TS 102 221 11.1.7)."""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.codec.apdu import Command
from esim_drivers.sim.application import Reply

_FORWARD, _BACKWARD, _ENHANCED = 4, 5, 6
_FROM_NEXT, _FROM_PREVIOUS = 6, 7
_BY_VALUE = 0x08
NO_MATCH = Reply(sw=0x6282)


def search(records: Sequence[bytes], command: Command, pointer: int) -> list[int] | Reply:
    """Return the numbers of the matching records in the order of the search, at least one; or why there are none.

    ``pointer`` is the current record, 0 when there is none.
    """
    mode, data = command.p2 & 0x07, command.data
    if mode in (_FORWARD, _BACKWARD):
        order = _order(mode, command.p1, pointer, len(records))
        return order if isinstance(order, Reply) else _matches(records, order, data, 0, None)
    if mode != _ENHANCED:
        return Reply(sw=0x6A86)
    if len(data) < 3:
        return Reply(sw=0x6700)
    direction = data[0] & 0x07
    if data[0] & ~(_BY_VALUE | 0x07) or direction < _FORWARD:
        return Reply(sw=0x6A80)
    order = _order(direction, command.p1, pointer, len(records))
    if isinstance(order, Reply):
        return order
    if data[0] & _BY_VALUE:
        return _matches(records, order, data[2:], 0, data[1])
    return _matches(records, order, data[2:], data[1], None)


def _order(direction: int, p1: int, pointer: int, count: int) -> list[int] | Reply:
    """The records to look at: from P1 (00: the current one) to the end, or the ones after or before the current."""
    if direction in (_FROM_NEXT, _FROM_PREVIOUS):
        if p1:
            return Reply(sw=0x6A86)
        forward = direction == _FROM_NEXT
        # Without a current record: from the first, or from the last.
        start = (pointer + 1 if forward else pointer - 1) if pointer else (1 if forward else count)
    else:
        forward = direction == _FORWARD
        start = p1 or pointer
        if not 1 <= start <= count:
            return Reply(sw=0x6A83)
    return list(range(start, count + 1)) if forward else list(range(start, 0, -1))


def _matches(
    records: Sequence[bytes], order: Sequence[int], wanted: bytes, offset: int, value: int | None
) -> list[int] | Reply:
    """Look in each record from an offset on, or from the first byte of a value on."""
    length = len(records[0]) if records else 0
    if not wanted or offset + len(wanted) > length:
        return Reply(sw=0x6700)
    found = []
    for number in order:
        record = records[number - 1]
        start = offset if value is None else record.find(value)
        if start >= 0 and wanted in record[start:]:
            found.append(number)
    return found or NO_MATCH
