"""Records for people and programs: one line of text, one JSON object, one row of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from esim_bench.events import (
    ApduEvent,
    AtEvent,
    AtrEvent,
    MarkEvent,
    PowerEvent,
    RspEvent,
    SampleEvent,
    SniffedApduEvent,
    SniffEvent,
    UartEvent,
)
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.reader import Reader, Record

COLUMNS: Final = ("no", "time", "slot", "kind", "command", "response", "duration_ms", "session", "meaning")
_SHORT_HEX: Final = 96

_KINDS: Final = {
    ApduEvent: "apdu",
    AtrEvent: "atr",
    PowerEvent: "power",
    AtEvent: "at",
    RspEvent: "rsp",
    MarkEvent: "mark",
    SniffedApduEvent: "sniff",
    SniffEvent: "wire",
    UartEvent: "uart",
    SampleEvent: "meter",
}
KINDS: Final = tuple(_KINDS.values())


def kind_of(record: Record) -> str:
    """Return one of ``KINDS``; sniff: an APDU that a sniffer heard, wire: what else it saw."""
    return _KINDS[type(record.event)]


def time_of(at_ns: int) -> str:
    """Return a stamp as ISO time in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds}.{nanoseconds:09d}"  # a stamp from a damaged file
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def hex_of(record: Record) -> str:
    """Return the bytes of a record in hex, command and response apart; "" for what has no bytes."""
    match record.event:
        case ApduEvent(command=command, response=response) | SniffedApduEvent(command=command, response=response):
            return f"{command.hex().upper()} {response.hex().upper()}"
        case SniffEvent(data=data):
            return data.hex().upper()
        case AtrEvent(atr=atr):
            return atr.hex().upper()
    return ""


def line(record: Record, *, full: bool = False) -> str:
    """Return a record as one line: number (as packet tools count), time, kind, hex, meaning."""
    raw = hex_of(record)
    if not full and len(raw) > _SHORT_HEX:
        raw = f"{raw[: _SHORT_HEX - 12]}..{raw[-10:]}"
    columns = [f"{record.index + 1:>6}", time_of(record.at_ns)[11:26], f"{kind_of(record):<5}", raw, record.comment]
    # One record is one line, whatever a device has sent.
    return printable("  ".join(column for column in columns if column))


def annotated(reader: Reader, first: int = 0, last: int | None = None) -> Iterator[Record]:
    """Yield the records ``first`` to ``last`` (indexes, both included), each with its meaning.

    A closed journal holds it. A foreign capture is decoded from its beginning, and so is a journal that was never
    closed: what an APDU means depends on what went before.
    """
    stop = len(reader) if last is None else min(last + 1, len(reader))
    decoders: dict[str, ApduDecoder] = {}
    decoded = 0
    for index in range(first, stop):
        record = reader[index]
        if reader.own and (record.comment or not isinstance(record.event, ApduEvent | SniffedApduEvent)):
            yield record
            continue
        for earlier in range(decoded, index):
            past = reader[earlier]
            decoders.setdefault(past.slot, ApduDecoder()).observe(past.event)
        decoded = index + 1
        meaning = decoders.setdefault(record.slot, ApduDecoder()).observe(record.event)
        yield replace(record, comment=record.comment or meaning.text)


def printable(text: str) -> str:
    """Return text with its control characters and lone surrogates escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def document(record: Record) -> dict[str, Any]:
    """Return a record as JSON values."""
    values: dict[str, Any] = {
        "no": record.index + 1,
        "time": time_of(record.at_ns),
        "at_ns": record.at_ns,
        "slot": record.slot,
        "kind": kind_of(record),
    }
    match record.event:
        case ApduEvent(command=command, response=response, duration_ns=duration, session=session):
            values |= {
                "command": command.hex().upper(),
                "response": response.hex().upper(),
                "sw": response[-2:].hex().upper(),
                "duration_ns": duration,
                "session": session,
            }
        case AtrEvent(atr=atr, cold=cold):
            values |= {"atr": atr.hex().upper(), "cold": cold}
        case PowerEvent(action=action, detail=detail):
            values |= {"action": action.value, "detail": detail}
        case AtEvent(direction=direction, line=text):
            values |= {"direction": direction, "line": printable(text)}
        case RspEvent() as rsp:
            values |= {
                "url": rsp.url,
                "status": rsp.status,
                "duration_ns": rsp.duration_ns,
                "request": printable(rsp.request.decode("utf-8", "backslashreplace")),
                "response": printable(rsp.response.decode("utf-8", "backslashreplace")),
            }
        case MarkEvent(text=text):
            values["text"] = printable(text)
        case SniffedApduEvent(command=command, response=response, duration_ns=duration, source=source, flaws=flaws):
            values |= {
                "command": command.hex().upper(),
                "response": response.hex().upper(),
                "sw": response[-2:].hex().upper(),
                "duration_ns": duration,
                "source": source,
                "flaws": flaws,
            }
        case SniffEvent(kind=sniffed, source=source, data=data, detail=detail):
            values |= {"source": source, "event": sniffed.value, "data": data.hex().upper(), "detail": detail}
        case UartEvent(source=source, line=text, ended=ended, cut=cut):
            values |= {"source": source, "line": printable(text), "ended": ended, "cut": cut}
        case SampleEvent(source=source, amperes=amperes, volts=volts):
            values |= {"source": source, "amperes": amperes, "volts": volts}
    values["meaning"] = printable(record.comment)
    if record.masked:
        values["masked"] = [list(span) for span in record.masked]
    return values


def row(record: Record) -> tuple[str, ...]:
    """Return a record as a row of ``COLUMNS``."""
    event = record.event
    command = response = duration = session = ""
    if isinstance(event, ApduEvent):
        command, response = event.command.hex().upper(), event.response.hex().upper()
        duration, session = f"{event.duration_ns / 1e6:.6f}", str(event.session)
    elif isinstance(event, SniffedApduEvent):
        command, response = event.command.hex().upper(), event.response.hex().upper()
        duration = f"{event.duration_ns / 1e6:.6f}"
    elif isinstance(event, AtrEvent):
        response = event.atr.hex().upper()
    elif isinstance(event, RspEvent):
        duration = f"{event.duration_ns / 1e6:.6f}"
    head = (str(record.index + 1), time_of(record.at_ns), record.slot, kind_of(record))
    return (*head, command, response, duration, session, printable(record.comment))
