"""READ, UPDATE and PIN commands on the files of a channel (TS 102 221 11.1).

A file named by its short identifier becomes the current EF when the command succeeds.
"""

from __future__ import annotations

from esim_bench.codec.apdu import Command
from esim_drivers.sim import access
from esim_drivers.sim.application import Reply
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.filesystem import FileSystem, Node
from esim_drivers.sim.pins import Pins

FILE_INSTRUCTIONS = (0xB0, 0xB2, 0xD6, 0xDC, 0x20, 0x24, 0x26, 0x28, 0x2C)
"""The instruction bytes of these commands."""

_SFI = 0x80
_NEXT, _PREVIOUS, _ABSOLUTE = 2, 3, 4


class FileCommands:
    """The commands that work on files; what they change besides NVM is the channel."""

    def __init__(self, files: FileSystem, pins: Pins) -> None:
        self._files = files
        self._pins = pins

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
        if not self.allowed(node, mode):
            return Reply(sw=0x6982)
        if offset >= node.content_node.header.size:
            return Reply(sw=0x6B00)
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
        if offset + len(command.data) > node.content_node.header.size:
            return Reply(sw=0x6700)
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
        if not self.allowed(node, mode):
            return Reply(sw=0x6982)
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
        length = node.content_node.header.record_length
        if len(command.data) != length:
            return Reply(sw=0x6700)
        self._files.write(node, (number - 1) * length, command.data)
        return Reply()

    def _update_cyclic(self, command: Command, channel: Channel, node: Node) -> Reply:
        """The oldest record is overwritten and becomes number 1 (TS 102 221 11.1.6)."""
        length = node.content_node.header.record_length
        if command.p1:
            return Reply(sw=0x6A86)
        if not self.allowed(node, access.UPDATE):
            return Reply(sw=0x6982)
        if len(command.data) != length:
            return Reply(sw=0x6700)
        self._files.write(node, 0, command.data + self._files.read(node)[:-length])
        if node is not channel.ef:
            channel.enter(node)
        channel.record = 1
        return Reply()

    # ------------------------------------------------------------------------------------------------- PIN

    def _pin(self, command: Command, channel: Channel) -> Reply:
        """VERIFY 20, CHANGE 24, DISABLE 26, ENABLE 28, UNBLOCK 2C (TS 102 221 11.1.9 to 11.1.13)."""
        if command.p1:
            return Reply(sw=0x6A86)
        reference, directory, data = command.p2, channel.directory, command.data
        match command.ins:
            case 0x20:
                sw = self._pins.verify(reference, directory, data)
            case 0x24:
                sw = self._pins.change(reference, directory, data)
            case 0x26:
                sw = self._pins.set_enabled(reference, directory, data, False)
            case 0x28:
                sw = self._pins.set_enabled(reference, directory, data, True)
            case _:
                sw = self._pins.unblock(reference, directory, data)
        return Reply(sw=sw)

    # ------------------------------------------------------------------------------------------------- access

    def allowed(self, node: Node, mode: int) -> bool:
        """Judge an access by the rule that the file references; without a readable rule it is refused."""
        reference = node.header.arr
        if node.header.life_cycle & 0x05 == 0x04:
            return False  # deactivated (TS 102 221 11.1.1.4.9)
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
