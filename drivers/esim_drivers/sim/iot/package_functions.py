"""ES10b of an IoT eUICC: packages, eIMs, certificates, and the lists of notifications and results (SGP.32 5.9)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from esim_bench.codec import es10_iot, es10_iot_answers, tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10 import Tag
from esim_bench.codec.es10_iot import IPAE_ACTIVATION, RETRIEVE_NOTIFICATIONS_LIST, IotTag
from esim_bench.codec.es10_results import EVENTS
from esim_bench.codec.sgp32 import Members, Version, integer, natural
from esim_bench.codec.tlv import Tlv
from esim_bench.crypto.identity import SigningIdentity
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.iot.eims import Eims, Refused
from esim_drivers.sim.iot.packages import PackageProcessor
from esim_drivers.sim.iot.ports import PackageSwitching
from esim_drivers.sim.iot.results import PackageResults
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.nvm import MemoryFailure
from esim_drivers.sim.personality import LPAE_SUPPORT
from esim_drivers.sim.profile_manager import ProfileManager
from esim_drivers.sim.registry import Registry

_UNDEFINED = 127
_INVALID_CI_PK_ID = 1
_PARAMETERS_NOT_AVAILABLE = 1
_NOTHING_TO_DELETE = 1
_ACTIVATE_IPAE = 0
_IPAE_NOT_SUPPORTED = 1

Function = Callable[[Tlv], bytes]


class PackageFunctions:
    """The functions of this side, ``reading`` and ``writing``, by tag; both kinds join the ISD-R's tables."""

    def __init__(
        self,
        euicc: Euicc,
        notifications: Notifications,
        manager: ProfileManager,
        switching: PackageSwitching,
        eims: Eims,
        version: Version,
        *,
        consumer: bool = False,
    ) -> None:
        self._euicc = euicc
        self._notifications = notifications
        self._version = version
        self._consumer = consumer
        self.eims = eims
        self.results = PackageResults(euicc, version)
        self.packages = PackageProcessor(euicc, self.eims, self.results, manager, switching, version)
        self.reading: dict[int, Function] = {
            IotTag.GET_EIM_CONFIGURATION_DATA: self._get_eim_configuration_data,
            IotTag.GET_CERTS: self._get_certs,
            RETRIEVE_NOTIFICATIONS_LIST: self._retrieve,
        }
        self.writing: dict[int, Function] = {
            IotTag.LOAD_EUICC_PACKAGE: self.packages.load,
            IotTag.ADD_INITIAL_EIM: self._add_initial_eim,
            Tag.REMOVE_NOTIFICATION_FROM_LIST: self._remove,
        }
        self.undefined_errors: dict[int, bytes] = {
            tag: es10_iot_answers.failure(tag, _UNDEFINED, version)
            for tag in (IotTag.GET_CERTS, IotTag.ADD_INITIAL_EIM)
        }
        """Answers of functions that can't make sense of their request, or whose effect the memory did not take."""
        self.undefined_errors[RETRIEVE_NOTIFICATIONS_LIST] = es10_iot_answers.retrieve_failure()
        if es10_iot.supported(IPAE_ACTIVATION, version):
            self.reading[IPAE_ACTIVATION] = self._activate_ipae
        if es10_iot.supported(IotTag.GET_CONNECTIVITY_PARAMETERS, version):
            tag = IotTag.GET_CONNECTIVITY_PARAMETERS
            self.reading[tag] = self._get_connectivity_parameters
            self.undefined_errors[tag] = es10_iot_answers.failure(tag, _UNDEFINED, version)

    def reset(self) -> None:
        """Forget what lives in RAM, and end a package that this reset interrupted."""
        self._euicc.ipae_activated = False
        if self._euicc.nvm.powered:
            # A memory that does not take the result now may take it at a later reset.
            with suppress(MemoryFailure):
                self.packages.recover()

    def violations(self) -> list[str]:
        """Return what is inconsistent after a reset, as sentences."""
        return [*self.eims.violations(), *self.packages.violations(), *self.results.violations()]

    # ------------------------------------------------------------------------------------------------ eIMs

    def _get_eim_configuration_data(self, request: Tlv) -> bytes:
        """ES10b.GetEimConfigurationData (5.9.18): all eIMs, or the one that is looked for. Raises CodecError."""
        wanted = es10_iot.searched_eim(request.raw)
        found = [self._shown(one.shown()) for one in self.eims.all() if wanted in (None, one.eim_id)]
        return es10_iot_answers.eim_configurations(found, self._version)

    def _shown(self, configuration: EimConfigurationData) -> EimConfigurationData:
        """Leave out what the card's version has no member for; whoever associated the eIM was of a later one."""
        indirect = configuration.indirect_download and self._version >= Version.V1_2
        proprietary = configuration.proprietary if self._version >= Version.V1_3 else None
        if (indirect, proprietary) == (configuration.indirect_download, configuration.proprietary):
            return configuration
        return replace(configuration, indirect_download=indirect, proprietary=proprietary)

    def _add_initial_eim(self, request: Tlv) -> bytes:
        """ES10b.AddInitialEim (5.9.4): all entries, or none and a code. Raises CodecError, MemoryFailure."""
        configurations = es10_iot.initial_eims(request.raw)
        tag = IotTag.ADD_INITIAL_EIM
        try:
            return es10_iot_answers.added_eims(self.eims.add_initial(configurations))
        except Refused as refusal:
            known = refusal.code in es10_iot.codes(tag, self._version)
            return es10_iot_answers.failure(tag, refusal.code if known else _UNDEFINED, self._version)

    # ------------------------------------------------------------------------------------------------ itself

    def _get_certs(self, request: Tlv) -> bytes:
        """ES10b.GetCerts (5.9.10), under the preferred CI or the one that is asked for. Raises CodecError."""
        wanted = es10_iot.certs_ci_pk_id(request.raw)
        found = self._euicc.identity.signing[0] if wanted is None else self._signing(wanted)
        if found is None:
            return es10_iot_answers.failure(IotTag.GET_CERTS, _INVALID_CI_PK_ID, self._version)
        return es10_iot_answers.certificates(found.eum_certificate, found.euicc_certificate)

    def _signing(self, ci_pk_id: bytes) -> SigningIdentity | None:
        """Return the identity under a CI; eIMs may shorten its key identifier, which then must fit one CI only."""
        found = [one for one in self._euicc.identity.signing if one.ci_key_id.startswith(ci_pk_id)]
        return found[0] if len(found) == 1 else None

    def _get_connectivity_parameters(self, request: Tlv) -> bytes:
        """ES10b.GetConnectivityParameters: of the enabled profile, where this make of eUICC has any."""
        Members(request, "GetConnectivityParameters").end()
        parameters = self._euicc.personality.connectivity_parameters
        if not parameters or Registry(self._euicc.nvm).enabled() is None:
            tag = IotTag.GET_CONNECTIVITY_PARAMETERS
            return es10_iot_answers.failure(tag, _PARAMETERS_NOT_AVAILABLE, self._version)
        return es10_iot_answers.connectivity_parameters(parameters)

    def _activate_ipae(self, request: Tlv) -> bytes:
        """ES10b.IpaeActivation: ok 0 for an IPAe that the eUICC has, else notSupported 1. Raises CodecError.

        A card that is also a consumer eUICC has SGP.22's LpaeActivation under this tag, with bits of the same places.
        """
        wanted = der.read_bits(request.get(0x80))
        who = self._euicc.personality
        own = [LPAE_SUPPORT.index(name) for name in who.lpae_support] if self._consumer else []
        ipae = who.ipae_supported and _ACTIVATE_IPAE in wanted
        supported = bool(wanted) and all(bit in own or (ipae and bit == _ACTIVATE_IPAE) for bit in wanted)
        self._euicc.ipae_activated = self._euicc.ipae_activated or (supported and ipae)
        return es10_iot_answers.answer(IPAE_ACTIVATION, 0 if supported else _IPAE_NOT_SUPPORTED, self._version)

    # ------------------------------------------------------------------------------------------------ lists

    def _retrieve(self, request: Tlv) -> bytes:
        """ES10b.RetrieveNotificationsList (5.9.11): notifications (A0) or package results (A2).

        Without criteria v1.0 gives both (A3); a card that is also a consumer eUICC gives what an LPA understands.
        Raises CodecError.
        """
        search = es10_iot.searched_notifications(request.raw)
        if search.package_results:
            return es10_iot_answers.retrieved_package_results(self.results.all())
        if search.seq is not None:
            result = self.results.find(search.seq)
            if result is not None:
                return es10_iot_answers.retrieved_package_results([result])
        events = tuple(map(EVENTS.index, search.events)) if search.events is not None else None
        found = tuple(one.raw for one in self._notifications.select(search.seq, events))
        everything = search.seq is None and search.events is None
        if everything and self._version < Version.V1_2 and not self._consumer:
            return es10_iot_answers.retrieved_both(es10_iot_answers.Retrieved(found, tuple(self.results.all())))
        return es10_iot_answers.retrieved_notifications(found)

    def _remove(self, request: Tlv) -> bytes:
        """ES10b.RemoveNotificationFromList: a notification or a package result. Raises CodecError."""
        seq = natural(request.get(0x80))
        removed = self._notifications.remove(seq) or self.results.remove(seq)
        code = integer(0x80, 0 if removed else _NOTHING_TO_DELETE)
        return tlv.encode(Tag.REMOVE_NOTIFICATION_FROM_LIST, code)
