"""READ, UPDATE, SEARCH, INCREASE, ACTIVATE, DEACTIVATE and PIN commands on the files of a channel (TS 102 221 11.1).

A file named by its short identifier becomes the current EF, and the record pointer moves, when the command succeeds.
"""

from __future__ import annotations

from esim_bench.codec.apdu import Command
from esim_drivers.sim import access
from esim_drivers.sim.application import Reply
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.data_objects import DataObjects
from esim_drivers.sim.fcp import FileHeader
from esim_drivers.sim.filesystem import FileSystem, Node
from esim_drivers.sim.pins import Pins
from esim_drivers.sim.search import search

INCREASE, RETRIEVE_DATA, SET_DATA = 0x32, 0xCB, 0xDB
FILE_INSTRUCTIONS = (*(0xB0, 0xB2, 0xD6, 0xDC, 0xA2, 0x44, 0x04), *(0x20, 0x24, 0x26, 0x28, 0x2C))
"""The instruction bytes of these commands, of class 0X."""
PROPRIETARY_FILE_INSTRUCTIONS = (INCREASE, RETRIEVE_DATA, SET_DATA)
"""The instruction bytes of these commands, of class 8X (TS 102 221 10.1.2)."""

_SFI = 0x80
_NEXT, _PREVIOUS, _ABSOLUTE = 2, 3, 4
_BY_FID, _FROM_MF, _FROM_DF = 0x00, 0x08, 0x09
_READABLE_WHEN_DEACTIVATED = 0x40
"""Bit of the special file information (TS 102 222 6.3.2.2.2)."""
_MOST_INCREASED = 0x7F


class FileCommands:
    """The commands that work on files; what they change besides NVM is the channel."""

    def __init__(self, files: FileSystem, pins: Pins) -> None:
        self._files = files
        self._pins = pins
        self._objects = DataObjects(files)

    def process(self, command: Command, channel: Channel) -> Reply | None:
        """Execute a command; None: it is none of these."""
        match command.ins:
            case 0xB0:
                return self._read_binary(command, channel)
            case 0xB2:
                return self._read_record(command, channel)
            case 0xD6:
                return self._update_binary(command, channel)
            case 0xDC:
                return self._update_record(command, channel)
            case 0x20 | 0x24 | 0x26 | 0x28 | 0x2C:
                return self._pin(command, channel)
            case 0xA2:
                return self._search_record(command, channel)
            case 0x32:
                return self._increase(command, channel)
            case 0x44 | 0x04:
                return self._activate(command, channel, active=command.ins == 0x44)
            case 0xCB | 0xDB:
                return self._object(command, channel)
            case _:
                return None

    # ------------------------------------------------------------------------------------------------- transparent

    def _binary(self, command: Command, channel: Channel, mode: int) -> tuple[Node, int] | Reply:
        """Find the file and the offset that P1 and P2 name, and judge the access."""
        if command.p1 & _SFI:
            if command.p1 & 0x60:
                return Reply(sw=0x6A86)
            node = channel.directory.by_sfi(command.p1 & 0x1F)
            offset = command.p2
        else:
            node = channel.ef
            offset = command.p1 << 8 | command.p2
        if node is None:
            return Reply(sw=0x6A82 if command.p1 & _SFI else 0x6986)
        if node.content_node.header.kind != "transparent":
            return Reply(sw=0x6981)
        refused = self._refused(node, mode)
        if refused is not None:
            return refused
        size = node.content_node.header.size
        if offset >= size:
            return Reply(sw=0x6B00)
        if mode == access.UPDATE and offset + len(command.data) > size:
            return Reply(sw=0x6700)
        if node is not channel.ef:
            channel.enter(node)
        return node, offset

    def _read_binary(self, command: Command, channel: Channel) -> Reply:
        if command.data:
            return Reply(sw=0x6700)
        found = self._binary(command, channel, access.READ)
        if isinstance(found, Reply):
            return found
        node, offset = found
        # At most 256 bytes: one response. Less than the rest of the file is the terminal's choice (Le).
        return Reply(self._files.read(node)[offset : offset + (command.le or 256)])

    def _update_binary(self, command: Command, channel: Channel) -> Reply:
        if not command.data:
            return Reply(sw=0x6700)
        found = self._binary(command, channel, access.UPDATE)
        if isinstance(found, Reply):
            return found
        node, offset = found
        self._files.write(node, offset, command.data)
        return Reply()

    # ------------------------------------------------------------------------------------------------- records

    def _record(self, command: Command, channel: Channel, mode: int) -> tuple[Node, int] | Reply:
        """Find the file and the record number that P1 and P2 name, and judge the access; then the pointer moves."""
        sfi, how = command.p2 >> 3, command.p2 & 0x07
        if how not in (_NEXT, _PREVIOUS, _ABSOLUTE) or sfi == 0x1F:
            return Reply(sw=0x6A86)
        node = channel.directory.by_sfi(sfi) if sfi else channel.ef
        if node is None:
            return Reply(sw=0x6A82 if sfi else 0x6986)
        header = node.content_node.header
        if header.kind not in ("linear", "cyclic"):
            return Reply(sw=0x6981)
        refused = self._refused(node, mode)
        if refused is not None:
            return refused
        if mode == access.UPDATE and len(command.data) != header.record_length:
            return Reply(sw=0x6700)
        pointer = channel.record if node is channel.ef else 0
        number = _record_number(how, command.p1, pointer, header.record_count, cyclic=header.kind == "cyclic")
        if isinstance(number, Reply):
            return number
        if node is not channel.ef:
            channel.enter(node)
        if how != _ABSOLUTE:
            channel.record = number
        return node, number

    def _read_record(self, command: Command, channel: Channel) -> Reply:
        if command.data:
            return Reply(sw=0x6700)
        found = self._record(command, channel, access.READ)
        if isinstance(found, Reply):
            return found
        record = self._files.record(*found)
        return Reply(record) if record is not None else Reply(sw=0x6A83)

    def _update_record(self, command: Command, channel: Channel) -> Reply:
        if not command.data:
            return Reply(sw=0x6700)
        sfi, how = command.p2 >> 3, command.p2 & 0x07
        probe = channel.directory.by_sfi(sfi) if sfi else channel.ef
        if probe is not None and probe.content_node.header.kind == "cyclic":
            return self._update_cyclic(command, channel, probe) if how == _PREVIOUS else Reply(sw=0x6981)
        found = self._record(command, channel, access.UPDATE)
        if isinstance(found, Reply):
            return found
        node, number = found
        self._files.write(node, (number - 1) * node.content_node.header.record_length, command.data)
        return Reply()

    def _update_cyclic(self, command: Command, channel: Channel, node: Node) -> Reply:
        """The oldest record is overwritten and becomes number 1 (TS 102 221 11.1.6)."""
        length = node.content_node.header.record_length
        if command.p1:
            return Reply(sw=0x6A86)
        refused = self._refused(node, access.UPDATE)
        if refused is not None:
            return refused
        if len(command.data) != length:
            return Reply(sw=0x6700)
        self._turn(node, command.data, channel)
        return Reply()

    def _turn(self, node: Node, record: bytes, channel: Channel) -> None:
        """Put a new first record into a cyclic file; the last one falls out. One write."""
        self._files.write(node, 0, record + self._files.read(node)[: -len(record)])
        if node is not channel.ef:
            channel.enter(node)
        channel.record = 1

    def _increase(self, command: Command, channel: Channel) -> Reply:
        """INCREASE (11.1.8): the newest value and an addend make a new record 1; the answer is that and the addend."""
        if command.p2 or (command.p1 and command.p1 & 0xE0 != _SFI):
            return Reply(sw=0x6A86)
        sfi = command.p1 & 0x1F
        node = channel.directory.by_sfi(sfi) if command.p1 else channel.ef
        if node is None:
            return Reply(sw=0x6A82 if command.p1 else 0x6986)
        header = node.content_node.header
        if header.kind != "cyclic":
            return Reply(sw=0x6981)
        refused = self._refused(node, access.INCREASE)
        if refused is not None:
            return refused
        addend, length = command.data, header.record_length
        if not addend or len(addend) > min(length, _MOST_INCREASED):
            return Reply(sw=0x6700)
        total = int.from_bytes(self._files.read(node)[:length], "big") + int.from_bytes(addend, "big")
        if total >> (8 * length):
            return Reply(sw=0x9850)
        record = total.to_bytes(length, "big")
        self._turn(node, record, channel)
        return Reply(record + addend)

    def _search_record(self, command: Command, channel: Channel) -> Reply:
        """SEARCH RECORD (11.1.7): the numbers of the records that contain a string; the first becomes the current."""
        sfi = command.p2 >> 3
        if sfi == 0x1F:
            return Reply(sw=0x6A86)
        node = channel.directory.by_sfi(sfi) if sfi else channel.ef
        if node is None:
            return Reply(sw=0x6A82 if sfi else 0x6986)
        header = node.content_node.header
        if header.kind not in ("linear", "cyclic"):
            return Reply(sw=0x6981)
        refused = self._refused(node, access.READ)
        if refused is not None:
            return refused
        content, length = self._files.read(node), header.record_length
        records = [content[at : at + length] for at in range(0, len(content), length)]
        found = search(records, command, channel.record if node is channel.ef else 0)
        if isinstance(found, Reply):
            return found
        if node is not channel.ef:
            channel.enter(node)
        channel.record = found[0]
        return Reply(bytes(found))

    # ------------------------------------------------------------------------------------------------- PIN

    def _pin(self, command: Command, channel: Channel) -> Reply:
        """VERIFY 20, CHANGE 24, DISABLE 26, ENABLE 28, UNBLOCK 2C (TS 102 221 11.1.9 to 11.1.13)."""
        replacement = command.p1 & 0x1F if command.ins == 0x26 and command.p1 & 0xE0 == 0x80 else None
        if command.p1 and replacement is None:
            return Reply(sw=0x6A86)
        reference, directory, data = command.p2, channel.directory, command.data
        match command.ins:
            case 0x20:
                sw = self._pins.verify(reference, directory, data)
            case 0x24:
                sw = self._pins.change(reference, directory, data)
            case 0x26:
                sw = self._pins.set_enabled(reference, directory, data, False, replacement)
            case 0x28:
                sw = self._pins.set_enabled(reference, directory, data, True)
            case _:
                sw = self._pins.unblock(reference, directory, data)
        return Reply(sw=sw)

    # ------------------------------------------------------------------------------------------------- life cycle

    def _activate(self, command: Command, channel: Channel, *, active: bool) -> Reply:
        """ACTIVATE FILE and DEACTIVATE FILE (11.1.15, 11.1.14): the current EF, or one by identifier or path."""
        if command.p2 or command.p1 not in (_BY_FID, _FROM_MF, _FROM_DF):
            return Reply(sw=0x6A86)
        data = command.data
        if len(data) % 2 or (command.p1 == _BY_FID and len(data) > 2) or (command.p1 and not data):
            return Reply(sw=0x6700)
        path = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        if not data:
            node = channel.ef
        elif command.p1 == _BY_FID:
            node = self._files.by_fid(path[0], channel.directory, channel.adf)
        else:
            start = self._files.mf if command.p1 == _FROM_MF else channel.directory
            node = self._files.by_path(path, start, channel.adf)
        if node is None:
            return Reply(sw=0x6A82 if data else 0x6986)
        if node.header.is_df:
            return Reply(sw=0x6981)
        if not self.allowed(node, access.ACTIVATE if active else access.DEACTIVATE):
            return Reply(sw=0x6982)
        self._files.set_active(node, active)
        if node is not channel.ef:
            channel.enter(node)
        return Reply()

    # ------------------------------------------------------------------------------------------------- BER-TLV

    def _object(self, command: Command, channel: Channel) -> Reply:
        """RETRIEVE DATA and SET DATA (11.3) on the current or an SFI's BER-TLV file."""
        sfi = command.p2 & 0x1F
        if command.p1:
            return Reply(sw=0x6A86)
        node = channel.directory.by_sfi(sfi) if sfi else channel.ef
        if node is None:
            return Reply(sw=0x6A82 if sfi else 0x6986)
        if node.content_node.header.kind != "ber-tlv":
            return Reply(sw=0x6981)
        writing = command.ins == SET_DATA
        refused = self._refused(node, access.UPDATE if writing else access.READ)
        if refused is not None:
            return refused
        if node is not channel.ef:
            channel.enter(node)
        work = self._objects.set if writing else self._objects.retrieve
        return work(command, channel, node)

    # ------------------------------------------------------------------------------------------------- access

    def _refused(self, node: Node, mode: int) -> Reply | None:
        """Judge an access: None, or the status word that refuses it."""
        if deactivated(node.content_node.header):
            return Reply(sw=0x6984)
        return None if self.allowed(node, mode) else Reply(sw=0x6982)

    def allowed(self, node: Node, mode: int) -> bool:
        """Judge an access by the rule that the file references; without a readable rule it is refused."""
        reference = node.header.arr
        if deactivated(node.content_node.header) and mode not in (access.ACTIVATE, access.DEACTIVATE):
            return False
        if len(reference) != 3:
            return False
        fid, number = int.from_bytes(reference[:2], "big"), reference[2]
        for directory in node.up():
            arr = directory.child(fid) if directory.header.is_df else None
            if arr is not None:
                record = self._files.record(arr, number)
                return record is not None and access.allows(
                    record, mode, lambda key: self._pins.satisfied(key, node.parent or node)
                )
        return False


def deactivated(header: FileHeader) -> bool:
    """Tell whether a file may not be used: deactivated (TS 102 221 11.1.1.4.9), and not marked as usable even so."""
    return header.life_cycle & 0x05 == 0x04 and not header.special & _READABLE_WHEN_DEACTIVATED


def _record_number(how: int, p1: int, pointer: int, count: int, *, cyclic: bool) -> int | Reply:
    """The record that is meant (TS 102 221 11.1.5): by number, the current one (P1 00), the next, the previous."""
    if how == _ABSOLUTE:
        number = p1 or pointer
        return number if 1 <= number <= count else Reply(sw=0x6A83)
    if p1:
        return Reply(sw=0x6A86)
    if how == _NEXT:
        number = pointer + 1
    else:
        number = pointer - 1 if pointer else count
    if 1 <= number <= count:
        return number
    if cyclic and count:
        return 1 if number > count else count
    return Reply(sw=0x6A83)
