"""The ISD-R of a simulated eUICC: SELECT, STORE DATA, and the ES10a, ES10b and ES10c functions (SGP.22 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from esim_bench.codec.apdu import Command
from esim_bench.codec.es10 import Tag
from esim_bench.codec.es10_iot import IotTag
from esim_bench.codec.tlv import Tlv, encode, parse, parse_header
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import CodecError
from esim_bench.ports import FormFactor
from esim_drivers.sim import bpp_loader, der
from esim_drivers.sim.application import CardServices, Reply
from esim_drivers.sim.bpp_loader import SEGMENT_TAGS, BppLoader
from esim_drivers.sim.crl import RevocationLists
from esim_drivers.sim.euicc import Euicc, StatusError
from esim_drivers.sim.euicc_info import euicc_info1, euicc_info2, isdr_fci
from esim_drivers.sim.iot.functions import IotFunctions
from esim_drivers.sim.iot.standards import CONSUMER_ONLY, Standards
from esim_drivers.sim.notifications import RESULT_ROOM, Notifications
from esim_drivers.sim.nvm import MemoryFailure
from esim_drivers.sim.odd import OddFunctions
from esim_drivers.sim.personality import LPAE_SUPPORT, Personality
from esim_drivers.sim.policy import get_rat
from esim_drivers.sim.profile_manager import DEFAULT_ADDRESS_KEY, UNDEFINED, ProfileManager
from esim_drivers.sim.registry import Registry
from esim_drivers.sim.rsp_session import RspSession
from esim_drivers.sim.store_data import INS_STORE_DATA, StoreDataChains

ROOT_DS_ADDRESS = "testrootsmds.example.com"
_MAX_ADDRESS = 255
_NOT_SUPPORTED = 1

_ES10B = frozenset(
    (
        Tag.GET_EUICC_INFO1,
        Tag.PREPARE_DOWNLOAD,
        Tag.GET_EUICC_INFO2,
        Tag.LIST_NOTIFICATION,
        Tag.RETRIEVE_NOTIFICATIONS_LIST,
        Tag.GET_EUICC_CHALLENGE,
        Tag.REMOVE_NOTIFICATION_FROM_LIST,
        Tag.LOAD_CRL,
        Tag.AUTHENTICATE_SERVER,
        Tag.CANCEL_SESSION,
        Tag.GET_RAT,
    )
)

_IOT_ES10B = frozenset(IotTag)
_FOR_ANYBODY = frozenset((Tag.GET_EUICC_INFO1, Tag.GET_EUICC_INFO2, Tag.GET_EID, Tag.LPAE_ACTIVATION))
"""What an eUICC also answers while its own IPA is the active one: how else should the device's know that it is?"""

_UNDEFINED_ERROR: dict[int, int] = {
    **dict.fromkeys((Tag.SET_DEFAULT_DP_ADDRESS, Tag.REMOVE_NOTIFICATION_FROM_LIST, Tag.SET_NICKNAME), 0x80),
    **dict.fromkeys((Tag.ENABLE_PROFILE, Tag.DISABLE_PROFILE, Tag.DELETE_PROFILE, Tag.EUICC_MEMORY_RESET), 0x80),
    **dict.fromkeys((Tag.LIST_NOTIFICATION, Tag.RETRIEVE_NOTIFICATIONS_LIST, Tag.GET_PROFILES_INFO), 0x81),
    **dict.fromkeys((Tag.LOAD_CRL, Tag.CANCEL_SESSION), 0x81),
}
"""Functions that have undefinedError 127, and the tag under which their answer carries it."""

_Function = Callable[[Tlv], bytes]


class Isdr:
    """The ISD-R as an application of the UICC.

    RAM: command chains, the RSP session, a load in progress. A load belongs to the logical channel on which it began.
    Functions that write end a load first, since its transaction is not theirs; reading functions leave it alone.
    """

    def __init__(
        self,
        services: CardServices,
        identity: EuiccIdentity,
        personality: Personality,
        randomness: Randomness,
        form_factor: FormFactor,
        standards: Standards = CONSUMER_ONLY,
    ) -> None:
        self._euicc = Euicc(services, identity, personality, randomness, form_factor, standards)
        self.notifications = Notifications(self._euicc)
        self._chains = StoreDataChains()
        self._session = RspSession(self._euicc)
        self._manager = ProfileManager(self._euicc, self.notifications)
        self._load: BppLoader | None = None
        self._load_channel = 0
        session, manager = self._session, self._manager
        reading: dict[int, _Function] = {
            Tag.GET_EUICC_INFO1: lambda request: euicc_info1(self._euicc),
            Tag.GET_EUICC_INFO2: lambda request: euicc_info2(self._euicc),
            Tag.LIST_NOTIFICATION: self.notifications.list_notification,
            Tag.RETRIEVE_NOTIFICATIONS_LIST: self.notifications.retrieve,
            Tag.GET_PROFILES_INFO: manager.get_profiles_info,
            Tag.GET_EUICC_CONFIGURED_ADDRESSES: self._configured_addresses,
            Tag.GET_EID: manager.get_eid,
            Tag.LPAE_ACTIVATION: self._activate_lpae,
            Tag.GET_RAT: lambda request: get_rat(personality),
        }
        writing: dict[int, _Function] = {
            Tag.PREPARE_DOWNLOAD: session.prepare_download,
            Tag.LOAD_CRL: RevocationLists(self._euicc).load,
            Tag.SET_NICKNAME: manager.set_nickname,
            Tag.GET_EUICC_CHALLENGE: session.get_challenge,
            Tag.REMOVE_NOTIFICATION_FROM_LIST: self.notifications.remove_from_list,
            Tag.ENABLE_PROFILE: manager.enable,
            Tag.DISABLE_PROFILE: manager.disable,
            Tag.DELETE_PROFILE: manager.delete,
            Tag.EUICC_MEMORY_RESET: manager.memory_reset,
            Tag.AUTHENTICATE_SERVER: session.authenticate_server,
            Tag.SET_DEFAULT_DP_ADDRESS: self._set_default_address,
            Tag.CANCEL_SESSION: self._cancel_session,
        }
        self.iot: IotFunctions | None = None
        """The IoT side, where there is one."""
        if standards.iot is not None:
            self.iot = IotFunctions(self._euicc, self.notifications, manager, session)
        self.odd = OddFunctions(self._euicc, manager)
        for table in (reading, writing):
            self.odd.wrap(table)
        self._reading, self._writing = self._tables(reading, writing)

    def _tables(self, *own: dict[int, _Function]) -> tuple[dict[int, _Function], dict[int, _Function]]:
        """Return the functions that read and those that write; IoT ones go before consumer ones of the same tag."""
        has = self._euicc.standards.has_consumer_function
        reading, writing = ({tag: function for tag, function in table.items() if has(tag)} for table in own)
        if self.iot is not None:
            for tag in (*self.iot.reading, *self.iot.writing):
                reading.pop(tag, None)
                writing.pop(tag, None)
            reading |= self.iot.reading
            writing |= self.iot.writing
        return reading, writing

    @property
    def registry(self) -> Registry:
        """Return the ISD-P registry."""
        return Registry(self._euicc.nvm)

    # ------------------------------------------------------------------------------------------------ application

    @property
    def aid(self) -> bytes:
        """Return the ISD-R's AID."""
        return self._euicc.personality.isd_r_aid

    def select(self, channel: int) -> Reply:
        """Answer with the FCI."""
        self._chains.forget(channel)
        return Reply(isdr_fci(self._euicc))

    def deselect(self, channel: int) -> None:
        """Lose a channel: its chain is forgotten, and a load on it is interrupted."""
        self._chains.forget(channel)
        if self._load is not None and self._load_channel == channel and self._euicc.nvm.powered:
            self._interrupt()

    def reset(self) -> None:
        """Forget what lives in RAM, and store the result of an installation that this reset interrupted."""
        self._chains.clear()
        self._session.close()
        self._load = None
        self._manager.reset()
        if self._euicc.nvm.powered:
            with suppress(MemoryFailure):
                bpp_loader.recover(self._euicc, self.notifications)
        if self.iot is not None:
            self.iot.reset()
        self._euicc.take_seconds()

    def process(self, command: Command, channel: int) -> Reply:
        """Execute STORE DATA (SGP.22 5.7.2)."""
        if not command.cla & 0x80:
            return Reply(sw=0x6E00)
        if command.cla & 0x0C:
            return Reply(sw=0x6882)
        if command.ins != INS_STORE_DATA:
            return Reply(sw=0x6D00)
        try:
            data = self._chains.receive(command, channel)
            response = self._execute(data, channel) if data is not None else b""
            return Reply(response, 0x9000, self._euicc.take_seconds())
        except StatusError as status:
            return Reply(sw=status.sw, seconds=self._euicc.take_seconds())
        except CodecError:
            return Reply(sw=0x6A80, seconds=self._euicc.take_seconds())
        except MemoryFailure:
            return Reply(sw=0x6581, seconds=self._euicc.take_seconds())

    # ------------------------------------------------------------------------------------------------ dispatch

    def _execute(self, data: bytes, channel: int) -> bytes:
        loading = self._load is not None and self._load_channel == channel
        try:
            tag = parse_header(data)[0]
        except CodecError:
            if not loading:
                raise
            tag = 0
        if tag not in _FOR_ANYBODY and self._euicc.ipae_active:
            raise StatusError(0x6985)
        if tag in SEGMENT_TAGS:
            return self._load_segment(tag, data, channel)
        function = self._reading.get(tag) or self._writing.get(tag)
        if function is None:
            # In the middle of a load it was meant to be a segment: the load says what is wrong with it, by its result.
            if loading:
                return self._load_segment(tag, data, channel)
            raise StatusError(0x6A88)
        if tag in _ES10B or (self.iot is not None and tag in _IOT_ES10B):
            self._check_reset_needed()
        request = parse(data, "ES10 request")
        if tag in self._writing and tag != Tag.CANCEL_SESSION and self._load is not None:
            self._interrupt()
        try:
            return function(request)
        except (CodecError, MemoryFailure):
            # A data object of a known function that it can't make sense of, or whose effect the memory did not take:
            # undefinedError where the function has it. What is no data object at all ends in 6A80 before this.
            if self.iot is not None and tag in self.iot.undefined_errors:
                return self.iot.undefined_errors[tag]
            if tag not in _UNDEFINED_ERROR:
                raise
            return encode(tag, der.integer(_UNDEFINED_ERROR[tag], UNDEFINED))

    def _check_reset_needed(self) -> None:
        if self._euicc.personality.requires_reset_after_switch and self._manager.switched:
            raise StatusError(0x6985)

    def _load_segment(self, tag: int, data: bytes, channel: int) -> bytes:
        """ES10b.LoadBoundProfilePackage (SGP.22 5.7.6): nothing until the result.

        6985 for a segment out of place, 6A84 for the first one when there would be no memory for the result.
        """
        self._check_reset_needed()
        if tag == Tag.LOAD_BOUND_PROFILE_PACKAGE:
            if self._load is not None:
                self._interrupt()
            if self._session.prepared is None:
                raise StatusError(0x6985)
            if self._euicc.services.free_memory < RESULT_ROOM:
                raise StatusError(0x6A84)
            self._load = BppLoader(self._euicc, self.notifications, self._session.prepared)
            self._load_channel = channel
        elif self._load is None or self._load_channel != channel:
            raise StatusError(0x6985)
        try:
            result = self._load.feed(data)
        except MemoryFailure:
            self._load = None
            self._session.close()
            raise
        if result is None:
            return b""
        if self._load.installed is not None:
            self._session.finish(self._load.installed)
        else:
            self._session.close()
        self._load = None
        return result

    def _interrupt(self) -> None:
        load, self._load = self._load, None
        if load is not None:
            self._session.close()
            load.interrupt()

    # ------------------------------------------------------------------------------------------------ ES10a and others

    def _cancel_session(self, request: Tlv) -> bytes:
        response = self._session.cancel(request)
        if self._load is not None and self._session.authenticated is None:
            self._load.discard()
            self._load = None
        return response

    def _activate_lpae(self, request: Tlv) -> bytes:
        """LpaeActivation (SGP.22 5.7.1.2): ok 0 for an LPAe that the eUICC has, else notSupported 1."""
        wanted = der.read_bits(request.get(0x80))
        own = [LPAE_SUPPORT.index(name) for name in self._euicc.personality.lpae_support]
        supported = wanted and all(option in own for option in wanted)
        return encode(Tag.LPAE_ACTIVATION, der.integer(0x80, 0 if supported else _NOT_SUPPORTED))

    def _configured_addresses(self, request: Tlv) -> bytes:
        """ES10a.GetEuiccConfiguredAddresses (SGP.22 5.7.3)."""
        default = self._euicc.nvm.get(DEFAULT_ADDRESS_KEY)
        known = encode(0x80, default) if default is not None else b""
        return encode(Tag.GET_EUICC_CONFIGURED_ADDRESSES, known, der.text(0x81, ROOT_DS_ADDRESS))

    def _set_default_address(self, request: Tlv) -> bytes:
        """ES10a.SetDefaultDpAddress (SGP.22 5.7.4): an empty address removes it."""
        address = der.read_text(request.get(0x80), _MAX_ADDRESS)
        if address:
            self._euicc.nvm.put(DEFAULT_ADDRESS_KEY, address.encode())
        else:
            self._euicc.nvm.delete(DEFAULT_ADDRESS_KEY)
        return encode(Tag.SET_DEFAULT_DP_ADDRESS, der.integer(0x80, 0))
