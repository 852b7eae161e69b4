"""The UICC: logical channels, selection, and the commands that it keeps for itself (ISO 7816-4, ETSI TS 102 221).

It knows commands and answers, not how they travel: 61xx, 6Cxx and 91xx belong to ``transport.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command, channel_of
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import BenchError, CodecError
from esim_drivers.sim.application import Application, Reply
from esim_drivers.sim.authenticate import AUTHENTICATE, Authenticator
from esim_drivers.sim.cat import Toolkit
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.fcp import CURRENT_ADF, MF, fcp
from esim_drivers.sim.file_commands import FILE_INSTRUCTIONS, PROPRIETARY_FILE_INSTRUCTIONS, FileCommands
from esim_drivers.sim.filesystem import FileSystem, Node
from esim_drivers.sim.get_identity import GET_IDENTITY, Identity
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.pins import Pins

log = logging.getLogger(__name__)

_SELECT, _STATUS, _MANAGE_CHANNEL = 0xA4, 0xF2, 0x70
_TERMINAL_CAPABILITY, _TERMINAL_PROFILE, _FETCH, _TERMINAL_RESPONSE, _ENVELOPE = 0xAA, 0x10, 0x12, 0x14, 0xC2
_TOOLKIT = (_TERMINAL_PROFILE, _FETCH, _TERMINAL_RESPONSE, _ENVELOPE)
_INTERINDUSTRY = (_SELECT, _MANAGE_CHANNEL, AUTHENTICATE, *FILE_INSTRUCTIONS)
_PROPRIETARY = (_STATUS, _TERMINAL_CAPABILITY, GET_IDENTITY, *_TOOLKIT, *PROPRIETARY_FILE_INSTRUCTIONS)

_BY_FID, _CHILD_DF, _PARENT, _BY_AID, _FROM_MF, _FROM_DF = 0x00, 0x01, 0x03, 0x04, 0x08, 0x09
_FCI, _FCP, _NO_DATA = 0x00, 0x04, 0x0C
_TERMINATE = 0x40

ENABLED_KEY = "euicc/enabled"
"""NVM key of the enabled profile's ISD-P AID: what is mounted at each reset."""

NOT_FOUND = Reply(sw=0x6A82)
WRONG_P1P2 = Reply(sw=0x6A86)
WRONG_LENGTH = Reply(sw=0x6700)


class Uicc:
    """A UICC with the files of the mounted profile and the applications that it was given."""

    def __init__(self, nvm: Nvm, personality: Personality) -> None:
        self._nvm = nvm
        self._personality = personality
        self.files = FileSystem(nvm)
        self.pins = Pins(nvm)
        self.toolkit = Toolkit()
        self.applications: list[Application] = []
        self.terminal_capability: bytes | None = None
        """What the terminal sent as TERMINAL CAPABILITY since the last reset: the value of A9."""
        self._commands = FileCommands(self.files, self.pins)
        self._authenticator = Authenticator(nvm, self.files, self.pins)
        self.identity = Identity(self.files, self.pins, personality, SeededRandomness("uicc"))
        """SUCI calculation; its randomness is replaced by the card's own."""
        self.channels: dict[int, Channel] = {}

    # ------------------------------------------------------------------------------------------------- life

    def reset(self) -> None:
        """Forget everything in RAM and show the enabled profile's files. Raises PowerLost: applications may write."""
        self.toolkit.reset()
        self.terminal_capability = None
        self.channels = {}
        for application in self.applications:
            application.reset()
        self.mount(self._nvm.get(ENABLED_KEY))
        self.channels = {0: Channel(0, self.files.mf)}

    def mount(self, isdp_aid: bytes | None) -> None:
        """Show another profile: every channel goes to its MF; ISD-R and the like stay selected where they are."""
        self.files.mount(isdp_aid)
        self.pins.mount(isdp_aid)
        for channel in self.channels.values():
            application = channel.application
            channel.start(self.files.mf)
            channel.application = application

    @property
    def free_memory(self) -> int:
        """Return the free bytes of persistent memory."""
        return max(0, self._personality.nvm_size - self._nvm.used)

    # ------------------------------------------------------------------------------------------------- dispatch

    def execute(self, command: Command) -> Reply:
        """Execute a command whose CLA still carries its channel. Raises PowerLost."""
        cla = command.cla
        if cla == 0xFF or 0x20 <= cla & 0x7F <= 0x3F:
            return Reply(sw=0x6E00)
        further = bool(cla & 0x40)
        if cla & (0x20 if further else 0x0C):
            return Reply(sw=0x6882)
        if cla & 0x10 and not further:
            return Reply(sw=0x6884)
        channel = self.channels.get(channel_of(cla))
        if channel is None:
            return Reply(sw=0x6881)
        plain = command
        if cla != cla & 0x80:
            plain = Command(cla & 0x80, command.ins, command.p1, command.p2, command.data, command.le)
        return self._dispatch(plain, channel)

    def _dispatch(self, command: Command, channel: Channel) -> Reply:
        proprietary = command.cla == 0x80
        if not proprietary:
            match command.ins:
                case 0x70:
                    return self._manage_channel(command, channel)
                case 0xA4 if channel.application is None or _is_uicc_select(command):
                    return self._select(command, channel)
        else:
            match command.ins:
                case 0xAA:
                    return self._terminal_capability(command)
                case 0xF2 if command.p1 <= 0x02:
                    return self._status(command, channel)
                case ins if ins in _TOOLKIT:
                    return self._toolkit(command, channel)
        if channel.application is not None:
            return self._process(channel.application, command, channel)
        if proprietary:
            if command.ins == _STATUS:
                return WRONG_P1P2
            if command.ins == GET_IDENTITY:
                return self.identity.process(command, channel)
            if command.ins in PROPRIETARY_FILE_INSTRUCTIONS:
                return self._commands.process(command, channel) or Reply(sw=0x6D00)
            return Reply(sw=0x6E00 if command.ins in _INTERINDUSTRY else 0x6D00)
        if command.ins in _PROPRIETARY:
            return Reply(sw=0x6E00)
        if command.ins == AUTHENTICATE:
            return self._authenticator.process(command, channel)
        return self._commands.process(command, channel) or Reply(sw=0x6D00)

    def _process(self, application: Application, command: Command, channel: Channel) -> Reply:
        try:
            return application.process(command, channel.number)
        except BenchError as exc:
            # What an application did not expect; a card can't say more about it than this.
            log.warning("application %s: %s", application.aid.hex().upper(), exc)
            return Reply(sw=0x6F00)

    # ------------------------------------------------------------------------------------------------- channels

    def _manage_channel(self, command: Command, channel: Channel) -> Reply:
        """MANAGE CHANNEL (TS 102 221 11.1.17): open (P1 00) the next free or a chosen channel, close (P1 80) one."""
        if command.data:
            return WRONG_LENGTH
        if command.p1 == 0x00:
            return self._open_channel(command.p2, channel)
        if command.p1 != 0x80:
            return WRONG_P1P2
        number = command.p2 or channel.number
        if number == 0 or number > 19:
            return WRONG_P1P2
        if number >= self._personality.channels:
            return Reply(sw=0x6881)
        closed = self.channels.pop(number, None)
        if closed is None:
            return Reply(sw=0x6200)
        if closed.application is not None:
            closed.application.deselect(number)
        return Reply()

    def _open_channel(self, wanted: int, origin: Channel) -> Reply:
        free = [number for number in range(1, self._personality.channels) if number not in self.channels]
        if wanted > 19:
            return WRONG_P1P2
        if wanted >= self._personality.channels:
            return Reply(sw=0x6881)
        if not free:
            return Reply(sw=0x6A81)
        if wanted and wanted not in free:
            return WRONG_P1P2
        number = wanted or free[0]
        channel = Channel(number, self.files.mf)
        if origin.number:
            channel.copy_from(origin)
        if channel.application is not None:
            reply = channel.application.select(number)
            if reply.sw != 0x9000:
                channel.start(self.files.mf)
        self.channels[number] = channel
        return Reply(b"" if wanted else bytes((number,)))

    # ------------------------------------------------------------------------------------------------- SELECT

    def _select(self, command: Command, channel: Channel) -> Reply:
        """SELECT (TS 102 221 11.1.1)."""
        if command.p1 == _BY_AID:
            return self._select_aid(command, channel)
        if command.p2 & ~0x0C or command.p2 & 0x0C == 0x08:
            return WRONG_P1P2
        found = self._find(command, channel)
        if isinstance(found, Reply):
            return found
        self._leave_application(channel)
        channel.enter(found)
        return self._describe(found, command.p2 & 0x0C)

    def _find(self, command: Command, channel: Channel) -> Node | Reply:
        """Find the file that a SELECT other than by name means, or the status word why not."""
        data = command.data
        directory = channel.directory
        if command.p1 == _PARENT:
            if data:
                return WRONG_LENGTH
            return directory.parent or NOT_FOUND
        if command.p1 not in (_BY_FID, _CHILD_DF, _FROM_MF, _FROM_DF):
            return WRONG_P1P2
        if not data and command.p1 == _BY_FID:
            return self.files.mf  # ISO 7816-4 11.2.2: no identifier means the MF
        if not data or len(data) % 2 or (len(data) > 2 and command.p1 in (_BY_FID, _CHILD_DF)):
            return WRONG_LENGTH
        path = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        if command.p1 == _BY_FID:
            found = self.files.by_fid(path[0], directory, channel.adf)
        elif command.p1 == _CHILD_DF:
            found = directory.child(path[0])
            found = found if found is not None and found.header.is_df else None
        elif MF in path:
            return Reply(sw=0x6A80) if path != (MF,) else self.files.mf
        else:
            start = self.files.mf if command.p1 == _FROM_MF else directory
            if command.p1 == _FROM_DF and path[0] == CURRENT_ADF:
                return NOT_FOUND
            found = self.files.by_path(path, start, channel.adf)
        return found or NOT_FOUND

    def _select_aid(self, command: Command, channel: Channel) -> Reply:
        """SELECT by DF name, also a right-truncated one: first, last, next or previous of those that begin with it."""
        if command.p2 & ~0x4F or command.p2 & 0x0C == 0x08:
            return WRONG_P1P2
        if len(command.data) > 16:
            return WRONG_LENGTH
        if not command.data:
            return NOT_FOUND
        matching = [(aid, target) for aid, target in self._names() if aid.startswith(command.data)]
        found = _occurrence(matching, command.p2 & 0x03, self._current_name(channel))
        if found is None:
            return NOT_FOUND
        if command.p2 & _TERMINATE:
            return self._terminate(found, channel)
        if isinstance(found, Node):
            self._leave_application(channel)
            channel.start(found)
            channel.adf = found
            return self._describe(found, command.p2 & 0x0C)
        reply = found.select(channel.number)
        if reply.sw & 0xFF00 == 0x6200 or reply.sw == 0x9000:
            if channel.application is not found:
                self._leave_application(channel)
            channel.start(self.files.mf)
            channel.application = found
        return Reply(b"", reply.sw, reply.seconds) if command.p2 & 0x0C == _NO_DATA else reply

    def _names(self) -> Sequence[tuple[bytes, Node | Application]]:
        """All that can be selected by name: the profile's ADFs, then the applications of the eUICC."""
        names: list[tuple[bytes, Node | Application]] = [(node.header.aid, node) for node in self.files.adfs]
        names += [(application.aid, application) for application in self.applications]
        return names

    def _current_name(self, channel: Channel) -> bytes | None:
        if channel.application is not None:
            return channel.application.aid
        return channel.adf.header.aid if channel.adf is not None else None

    def _terminate(self, found: Node | Application, channel: Channel) -> Reply:
        """End the application session (TS 102 221 8.5.1.4); the MF is selected."""
        if found is not channel.adf and found is not channel.application:
            return Reply(sw=0x6985)
        self._leave_application(channel)
        if isinstance(found, Node) and all(one is channel or one.adf is not found for one in self.channels.values()):
            self.pins.forget(found.header.pins, found)
        channel.start(self.files.mf)
        return Reply()

    def _leave_application(self, channel: Channel) -> None:
        if channel.application is not None:
            application, channel.application = channel.application, None
            application.deselect(channel.number)

    def _describe(self, node: Node, returned: int) -> Reply:
        header = node.header
        if not header.is_df and header.life_cycle != node.content_node.header.life_cycle:
            header = replace(header, life_cycle=node.content_node.header.life_cycle)
        sw = _selected(header.life_cycle)
        if returned == _NO_DATA:
            return Reply(sw=sw)
        pins = self.pins.states(header.pins, node) if header.pins else ()
        return Reply(fcp(header, pins=pins, free_memory=self.free_memory, fci=returned == _FCI), sw)

    # ------------------------------------------------------------------------------------------------- STATUS

    def _status(self, command: Command, channel: Channel) -> Reply:
        """STATUS (TS 102 221 11.1.2): FCP of the directory (P2 00), name of the application (01), nothing (0C)."""
        if command.data:
            return WRONG_LENGTH
        if command.p2 == _NO_DATA:
            return Reply()
        if command.p2 == 0x01:
            name = self._current_name(channel)
            return Reply(tlv.encode(0x84, name)) if name is not None else NOT_FOUND
        if command.p2 != 0x00:
            return WRONG_P1P2
        if channel.application is not None:
            return Reply(
                tlv.encode(0x62, b"\x82\x02\x78\x21", tlv.encode(0x84, channel.application.aid), b"\x8a\x01\x05")
            )
        return self._describe(channel.directory, _FCP)

    # ------------------------------------------------------------------------------------------------- terminal

    def _terminal_capability(self, command: Command) -> Reply:
        """TERMINAL CAPABILITY (TS 102 221 11.1.19): remembered as it came."""
        if command.p1 or command.p2:
            return WRONG_P1P2
        try:
            template = tlv.parse(command.data, "of TERMINAL CAPABILITY")
            template.children()
        except CodecError:
            return Reply(sw=0x6A80)
        if template.tag != 0xA9:
            return Reply(sw=0x6A80)
        self.terminal_capability = template.value
        return Reply()

    def _toolkit(self, command: Command, channel: Channel) -> Reply:
        """TERMINAL PROFILE, FETCH, TERMINAL RESPONSE and ENVELOPE (TS 102 221 11.2): on the basic channel only."""
        if channel.number:
            return Reply(sw=0x6881)
        if command.p1 or command.p2:
            return WRONG_P1P2
        match command.ins:
            case 0x10:
                if not command.data:
                    return WRONG_LENGTH
                self.toolkit.terminal_profile = command.data
                if self._personality.poll_seconds:
                    self.toolkit.ask_for_polling(self._personality.poll_seconds)
                return Reply()
            case 0x12:
                if command.data:
                    return WRONG_LENGTH
                if not self.announced:
                    return Reply(sw=0x6985)
                return Reply(self.toolkit.fetch() or b"")
            case 0x14:
                return Reply(sw=self.toolkit.respond(command.data))
            case _:
                return Reply(sw=self.toolkit.envelope(command.data)) if command.data else WRONG_LENGTH

    @property
    def announced(self) -> int:
        """Return the length that 91xx has to announce now; 0: nothing."""
        if self._personality.needs_terminal_profile and self.toolkit.terminal_profile is None:
            return 0
        return self.toolkit.announced


def _selected(life_cycle: int) -> int:
    """Return the status word of a selection (TS 102 221 10.2.1.2): 6285 terminated, 6283 deactivated."""
    if life_cycle & 0x0C == 0x0C:
        return 0x6285
    return 0x6283 if life_cycle & 0x05 == 0x04 else 0x9000


def _is_uicc_select(command: Command) -> bool:
    """Tell whether a SELECT is the UICC's own although an application is selected: by name, or from the MF."""
    if command.p1 == _BY_FID:
        return command.data in (b"", MF.to_bytes(2, "big"))
    return command.p1 in (_BY_AID, _FROM_MF)


def _occurrence(
    matching: Sequence[tuple[bytes, Node | Application]], which: int, current: bytes | None
) -> Node | Application | None:
    """Choose among names: 0 first, 1 last, 2 the one after the current, 3 the one before it."""
    if not matching:
        return None
    names = [name for name, _ in matching]
    match which:
        case 0:
            index = 0
        case 1:
            index = len(names) - 1
        case 2:
            index = names.index(current) + 1 if current in names else 0
        case _:
            index = names.index(current) - 1 if current in names else len(names) - 1
    return matching[index][1] if 0 <= index < len(names) else None
