"""What a record consists of: its bytes in panes, and beside each pane the tree of what stands where.

An ES10 function takes many APDUs; ``chain`` puts the whole request and the whole answer together again, from the
records around. Nothing here raises, whatever the bytes are: a trace is most needed when a device sends nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import es10, es10_iot
from esim_bench.codec.apdu import channel_of, sw_text
from esim_bench.events import (
    ApduEvent,
    AtEvent,
    AtrEvent,
    Event,
    MarkEvent,
    PowerEvent,
    RspEvent,
    SampleEvent,
    SniffedApduEvent,
    SniffEvent,
    UartEvent,
)
from esim_bench.trace import names
from esim_bench.trace.asn1_tree import trees
from esim_bench.trace.commands import parts_of, strip_sw
from esim_bench.trace.reader import Record
from esim_bench.trace.tree import Node

FAR: Final = 600
"""Records that are looked at in each direction for the rest of a chain."""
ANSWER: Final = "whole answer"
_STORE_DATA: Final = 0xE2
_GET_RESPONSE: Final = 0xC0
_SELECT: Final = 0xA4


@dataclass(frozen=True, slots=True)
class Pane:
    """Bytes of one thing, and what they are."""

    title: str
    data: bytes
    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Chain:
    """An ES10 function's request and answer, put together from its APDUs."""

    request: bytes
    response: bytes
    whole: bool
    """False where the records around did not have all of it."""


def dissect(event: Event, chain: Chain | None = None) -> list[Pane]:
    """Return the panes of an event; of an ES10 function the whole request and answer first. Never raises."""
    try:
        return _dissect(event, chain)
    except Exception as exc:  # a decoder's mistake must not cost the view of the bytes
        raw = event.command + event.response if isinstance(event, ApduEvent | SniffedApduEvent) else b""
        return [Pane("bytes", raw, [Node(name="not decoded", value=f"{type(exc).__name__}: {exc}")])]


def _dissect(event: Event, chain: Chain | None) -> list[Pane]:
    match event:
        case ApduEvent() | SniffedApduEvent():
            panes = _apdu(event.command, event.response)
            if chain is not None and (chain.request or chain.response):
                panes = [*_function(chain), *panes]
            return panes
        case RspEvent():
            return _rsp(event)
        case AtEvent():
            return [
                _line({">": "to the modem", "<": "from the modem", "!": "unsolicited"}[event.direction], event.line)
            ]
        case AtrEvent():
            kind = "cold" if event.cold else "warm"
            return [Pane("ATR", event.atr, [Node(name=f"ATR after a {kind} reset", start=0, end=len(event.atr))])]
        case PowerEvent():
            return [Pane("power", b"", [Node(name=f"power {event.action.value}", value=event.detail)])]
        case MarkEvent():
            return [Pane("mark", b"", [Node(name="mark", value=event.text)])]
        case UartEvent():
            return [_line(event.source, event.line)]
        case SniffEvent():
            nodes = [Node(name=event.kind.value, value=event.detail, start=0, end=len(event.data))]
            return [Pane(event.source, event.data, nodes)]
        case SampleEvent():
            return [Pane("sample", b"", [Node(name="sample", value=str(event))])]
    return []


def _line(title: str, line: str) -> Pane:
    raw = line.encode("utf-8", "surrogateescape")
    text = line.encode("utf-8", "replace").decode()
    return Pane(title, raw, [Node(name="line", value=text, start=0, end=len(raw))])


# ------------------------------------------------------------------------------------------------------------- APDUs


def _function(chain: Chain) -> list[Pane]:
    note = "" if chain.whole else " (a part: the rest is not in the records around)"
    panes = []
    if chain.request:
        panes.append(Pane(f"whole request{note}", chain.request, named(chain.request, request=True)))
    if chain.response:
        panes.append(Pane(f"{ANSWER}{note}", chain.response, named(chain.response, request=False)))
    return panes


def named(data: bytes, *, request: bool) -> list[Node]:
    """Return the trees of ES10 objects, the outermost one with its function's name. Never raises."""
    found = trees(data, request=request)
    functions = {**es10_iot.FUNCTIONS, **es10.FUNCTIONS}
    result = []
    for node in found:
        tag = int(node.name.split(" ")[0], 16) if node.start is not None and node.name[0] in "0123456789ABCDEF" else 0
        function = functions.get(tag)
        if function is not None:
            node = node.model_copy(update={"note": " ".join(filter(None, (node.note, function.name)))})
        result.append(node)
    return result


def _apdu(command: bytes, response: bytes) -> list[Pane]:
    parts = parts_of(command)
    if parts is None:
        nodes = [Node(name="no command", note="a header has four bytes", start=0, end=len(command))]
        return [Pane("command", command, nodes), Pane("answer", response, [])]
    name = names.INSTRUCTIONS.get(parts.ins, f"INS {parts.ins:02X}")
    nodes = [
        Node(name="CLA", value=f"{parts.cla:02X}", note=_class(parts.cla), start=0, end=1),
        Node(name="INS", value=f"{parts.ins:02X}", note=name, start=1, end=2),
        Node(name="P1", value=f"{parts.p1:02X}", note=_p1(parts.ins, parts.p1), start=2, end=3),
        Node(name="P2", value=f"{parts.p2:02X}", note=_p2(parts.ins, parts.p2), start=3, end=4),
    ]
    if len(command) == 5:
        nodes.append(Node(name="Le", value=f"{command[4]:02X}", note=f"{command[4] or 256} bytes", start=4, end=5))
    elif len(command) > 5:
        end = 5 + len(parts.data)
        nodes.append(Node(name="Lc", value=f"{parts.p3:02X}", note=f"{parts.p3} bytes", start=4, end=5))
        inner = _inside(parts.ins, parts.p1, parts.data)
        value, note = _data(parts.ins, parts.p1, parts.data) if not inner else ("", "")
        short = "" if len(parts.data) == parts.p3 else f"{parts.p3 - len(parts.data)} bytes are missing"
        nodes.append(
            Node(name="data", value=value, note=" ".join(filter(None, (note, short))), start=5, end=end, children=inner)
        )
        if len(command) > end:
            rest = command[end:]
            nodes.append(Node(name="Le", value=rest.hex().upper(), start=end, end=len(command)))
    return [Pane("command", command, nodes), Pane("answer", response, _answer(parts.ins, response))]


def _answer(ins: int, response: bytes) -> list[Node]:
    data, sw = strip_sw(response)
    if sw < 0:
        return [Node(name="no status word", value=response.hex().upper(), start=0, end=len(response))]
    nodes = []
    if data:
        inner = trees(data, request=False) if data[0] & 0x20 or ins == _SELECT else []
        if ins in (0xB0, 0xB2) and not _clean(inner):
            inner = []
        nodes.append(
            Node(name="data", value="" if inner else data.hex().upper(), note=f"{len(data)} bytes", start=0,
                 end=len(data), children=inner)
        )  # fmt: skip
    nodes.append(Node(name="status word", value=f"{sw:04X}", note=sw_text(sw), start=len(data), end=len(response)))
    return nodes


def _clean(nodes: list[Node]) -> bool:
    return bool(nodes) and not any(node.name == "bytes" for node in nodes)


def _inside(ins: int, p1: int, data: bytes) -> list[Node]:
    """Return the objects in a command's data, where it carries some that begin here."""
    if ins in (_STORE_DATA, 0xC2, 0x14, 0xAA, 0x88, 0xCB, 0xDB) and data and ins != 0x88:
        found = trees(data, request=True, base=5)
        return found if _clean(found) or (ins == _STORE_DATA and data[0] >= 0x80) else []
    return []


def _data(ins: int, p1: int, data: bytes) -> tuple[str, str]:
    text = data.hex().upper()
    if ins == _SELECT:
        if p1 == 0x04:
            return text, names.application(data) or "unknown application"
        if len(data) == 2:
            return text, names.file_name("ADF", int.from_bytes(data, "big"))
    return text, ""


def _class(cla: int) -> str:
    channel = channel_of(cla)
    kind = "GlobalPlatform" if cla & 0x80 else "ISO 7816-4 / ETSI"
    secure = ", secure messaging" if cla & (0x20 if cla & 0x40 else 0x0C) else ""
    chain = ", more follows" if cla & 0x10 else ""
    return f"{kind}, channel {channel}{secure}{chain}"


def _p1(ins: int, p1: int) -> str:
    match ins:
        case 0xE2:
            return "last block" if p1 & 0x80 else "more blocks follow"
        case 0xA4:
            ways = {0: "by file identifier", 3: "parent", 4: "by name (AID)", 8: "path from MF", 9: "path from here"}
            return ways.get(p1, "")
        case 0x70:
            return "close" if p1 & 0x80 else "open"
        case 0xB0 | 0xD6 if p1 & 0x80:
            return f"SFI {p1 & 0x1F:02X}"
        case 0xB2 | 0xDC:
            return f"record {p1}"
    return ""


def _p2(ins: int, p2: int) -> str:
    match ins:
        case 0xE2:
            return f"block {p2}"
        case 0xA4:
            return {0x00: "FCI", 0x04: "return FCP", 0x0C: "no data"}.get(p2 & 0x1C, "")
        case 0xB2 | 0xDC:
            return {2: "next", 3: "previous", 4: "absolute"}.get(p2 & 7, "")
        case 0x20 | 0x24 | 0x26 | 0x28 | 0x2C:
            return names.PIN_REFERENCES.get(p2, "")
    return ""


# --------------------------------------------------------------------------------------------------------------- RSP


def _rsp(event: RspEvent) -> list[Pane]:
    head = Node(name="status", value=event.status, note=event.url)
    return [
        Pane("request", event.request, [head, *_body(event.request, request=True)]),
        Pane("answer", event.response, _body(event.response, request=False)),
    ]


def _body(raw: bytes, *, request: bool) -> list[Node]:
    if not raw:
        return []
    if raw.lstrip()[:1] == b"{":
        try:
            return _json(json.loads(raw))
        except (ValueError, RecursionError):
            return [Node(name="text", value=raw[:2000].decode(errors="replace"), start=0, end=len(raw))]
    return named(raw, request=request)


def _json(value: object, name: str = "", depth: int = 0) -> list[Node]:
    if depth > 16:
        return []
    if isinstance(value, dict):
        return [
            Node(name=str(key), children=_json(inner, "", depth + 1))
            if isinstance(inner, dict | list)
            else Node(name=str(key), value=_short(inner))
            for key, inner in value.items()
        ]
    if isinstance(value, list):
        return [
            Node(name=f"[{number}]", children=_json(inner, "", depth + 1))
            if isinstance(inner, dict | list)
            else Node(name=f"[{number}]", value=_short(inner))
            for number, inner in enumerate(value)
        ]
    return [Node(name=name, value=_short(value))]


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ------------------------------------------------------------------------------------------------------------- chains


def chain(record: Record, at: Callable[[int], Record | None]) -> Chain | None:
    """Put the ES10 function together that a record is part of; None where it is part of none.

    ``at`` returns a record of the same journal by its number, None where there is none.
    """
    event = record.event
    if not isinstance(event, ApduEvent):
        return None
    parts = parts_of(event.command)
    if parts is None or parts.ins not in (_STORE_DATA, _GET_RESPONSE):
        return None
    talk = (event.session, channel_of(parts.cla))
    blocks: list[ApduEvent] = []
    number, left = record.index, FAR
    whole = False
    while left > 0:
        one = at(number)
        if one is None:
            break
        left -= 1
        own = _of(one.event, talk)
        if own is not None:
            ins = own.command[1]
            if ins not in (_STORE_DATA, _GET_RESPONSE):
                break
            if ins == _STORE_DATA and _ends(own) and _stored(blocks) and own.response[-2:-1] != b"\x6c":
                break  # the end of the function before
            blocks.insert(0, own)
            if ins == _STORE_DATA and own.command[3] == 0:
                whole = True
                break
        number -= 1
    if not blocks or blocks[0].command[1] != _STORE_DATA:
        return None
    number, left = record.index + 1, FAR
    ended = _ended(blocks)
    while not ended and left > 0:
        one = at(number)
        if one is None:
            break
        left -= 1
        number += 1
        own = _of(one.event, talk)
        if own is None:
            continue
        if own.command[1] not in (_STORE_DATA, _GET_RESPONSE) or (
            own.command[1] == _STORE_DATA and own.command[3] == 0
        ):
            break
        blocks.append(own)
        ended = _ended(blocks)
    return Chain(_request(blocks), _response(blocks), whole and ended)


def _of(event: Event, talk: tuple[int, int]) -> ApduEvent | None:
    """Return an event where it is a command of the same conversation; polling in between is none."""
    if not isinstance(event, ApduEvent) or len(event.command) < 5:
        return None
    if (event.session, channel_of(event.command[0])) != talk or event.command[1] in (0x12, 0x14, 0xF2, 0xC2):
        return None
    return event


def _stored(blocks: list[ApduEvent]) -> bool:
    return any(block.command[1] == _STORE_DATA for block in blocks)


def _ends(event: ApduEvent) -> bool:
    return bool(event.command[2] & 0x80)


def _ended(blocks: list[ApduEvent]) -> bool:
    last = blocks[-1]
    sw1 = last.response[-2:-1]
    if sw1 == b"\x6c" or sw1 == b"\x61":
        return False
    return last.command[1] == _GET_RESPONSE or _ends(last) or sw1 not in (b"\x90", b"\x91")


def _request(blocks: list[ApduEvent]) -> bytes:
    order: list[bytes] = []
    before = -1
    for block in blocks:
        if block.command[1] != _STORE_DATA:
            continue
        number = block.command[3]
        parts = parts_of(block.command)
        content = parts.data if parts is not None else b""
        if number == before and order:
            order[-1] = content  # the same block again, after 6Cxx
        else:
            order.append(content)
        before = number
    return b"".join(order)


def _response(blocks: list[ApduEvent]) -> bytes:
    return b"".join(
        block.response[:-2]
        for block in blocks
        if block.command[1] == _GET_RESPONSE or (block.command[1] == _STORE_DATA and _ends(block))
    )
