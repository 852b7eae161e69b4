"""RETRIEVE DATA and SET DATA: objects of BER-TLV files, in blocks (TS 102 221 11.3).

A file keeps its objects one after the other. Every object has a tag of its own; SET DATA replaces, an object without
value deletes. What is half sent or half fetched lives in RAM, one transfer on each channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command
from esim_bench.errors import CodecError
from esim_drivers.sim.application import Reply
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.filesystem import FileSystem, Node

_FIRST, _NEXT = 0x80, 0x00
_BLOCK = 256
_MORE_TO_COME, _MORE_TO_FETCH = 0x63F1, 0x62F1
_NO_SPACE, _NO_OBJECT, _WRONG_DATA = Reply(sw=0x6A84), Reply(sw=0x6A88), Reply(sw=0x6A80)


@dataclass(slots=True)
class _Transfer:
    """An object on its way on one channel: what is left to fetch, or what has come so far."""

    channel: Channel
    node: Node
    writing: bool
    data: bytes


class DataObjects:
    """The two commands; access has been judged before."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._transfers: dict[int, _Transfer] = {}

    def retrieve(self, command: Command, channel: Channel, node: Node) -> Reply:
        """RETRIEVE DATA: the object of a tag, 256 bytes at a time; 62F1 says that there is more."""
        how = command.p2 & 0xE0
        if how == _FIRST:
            self._transfers.pop(channel.number, None)
            if not command.data:
                return Reply(sw=0x6700)
            try:
                found = [item.raw for item in self._objects(node) if tlv.tag_bytes(item.tag) == command.data]
            except CodecError:
                return Reply(sw=0x6F00)
            if not found:
                return _NO_OBJECT
            rest = found[0]
        elif how == _NEXT:
            if command.data:
                return Reply(sw=0x6700)
            kept = self._running(channel, node, writing=False)
            if kept is None:
                return Reply(sw=0x6985)
            rest = kept.data
        else:
            return Reply(sw=0x6A86)
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        if not rest:
            self._transfers.pop(channel.number, None)
            return Reply(block)
        self._transfers[channel.number] = _Transfer(channel, node, False, rest)
        return Reply(block, _MORE_TO_FETCH)

    def set(self, command: Command, channel: Channel, node: Node) -> Reply:
        """SET DATA: an object, in as many blocks as it takes; 63F1 asks for the next one. The last one is a write."""
        how = command.p2 & 0xE0
        if how not in (_FIRST, _NEXT):
            return Reply(sw=0x6A86)
        if not command.data:
            return Reply(sw=0x6700)
        data = command.data
        if how == _NEXT:
            kept = self._running(channel, node, writing=True)
            if kept is None:
                return Reply(sw=0x6985)
            data = kept.data + data
        self._transfers.pop(channel.number, None)
        size = _whole(data)
        if size is None or len(data) > size:
            return _WRONG_DATA
        if size > node.content_node.header.size and node.content_node.header.size:
            return _NO_SPACE
        if len(data) < size:
            self._transfers[channel.number] = _Transfer(channel, node, True, data)
            return Reply(sw=_MORE_TO_COME)
        return self._put(node, data)

    def _put(self, node: Node, data: bytes) -> Reply:
        tag, length, _ = _header(data)
        others = [item for item in self._objects(node) if item.tag != tag]
        if not length:
            if len(others) == len(self._objects(node)):
                return _NO_OBJECT
            data = b""
        content = b"".join(item.raw for item in others) + data
        if len(content) > node.content_node.header.size:
            return _NO_SPACE
        self._files.resize(node, content)
        return Reply()

    def _running(self, channel: Channel, node: Node, *, writing: bool) -> _Transfer | None:
        """The transfer that the next block belongs to: of this very channel, file and direction."""
        kept = self._transfers.get(channel.number)
        same = kept is not None and kept.channel is channel and kept.node is node and kept.writing == writing
        return kept if same else None

    def _objects(self, node: Node) -> list[tlv.Tlv]:
        # Behind the objects a file may be filled with 00 or FF up to its size.
        content = self._files.read(node)
        found, at = [], 0
        while at < len(content) and content[at] not in (0x00, 0xFF):
            item = tlv.parse_prefix(content, at, "of a BER-TLV file")
            found.append(item)
            at += len(item.raw)
        return found


def _header(data: bytes) -> tuple[int, int, int]:
    """Tag, length and start of the value; a tag alone is an object without value. Raises CodecError."""
    try:
        return tlv.parse_header(data, 0)
    except CodecError:
        tag, length, start = tlv.parse_header(data + b"\0", 0)
        if tlv.tag_bytes(tag) != data:
            raise
        return tag, length, start - 1


def _whole(data: bytes) -> int | None:
    """How long an object is that begins so; None: it begins wrong, or its first block ends within its length."""
    try:
        _, length, start = _header(data)
    except CodecError:
        return None
    return start + length
