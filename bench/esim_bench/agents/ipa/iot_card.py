"""The eUICC as an IPA sees it: ES10b functions that SGP.32 adds, as calls with values (SGP.32 5.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from esim_bench.agents.lpa import Lpa
from esim_bench.codec import es10, es10_iot, euicc_package, tlv
from esim_bench.codec import es10_iot_answers as answers
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_iot_answers import IotError, Retrieved, RollbackResult
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import EID, EID_LENGTH, Version
from esim_bench.errors import AgentError, ApduRefusedError, CodecError, ProtocolError

T = TypeVar("T")

_TRIES = 3
"""How often the first eIMs are told to a card behind a modem that refuses the line and passes nothing on."""
_STATE_TAGS = bytes.fromhex("5A9F70")
_ECALL_TAGS = bytes.fromhex("5A9F709F7B")
_PROFILE, _ICCID, _STATE, _ECALL = 0xE3, 0x5A, 0x9F70, 0x9F7B


class IotCard:
    """The eUICC behind an LPA. Methods raise what ``Card.es10`` does, and ProtocolError for a malformed answer."""

    def __init__(self, lpa: Lpa, version: Version) -> None:
        self.lpa = lpa
        self.version = version

    async def call(self, request: bytes) -> bytes:
        """Send one ES10b request, as it is."""
        return await self.lpa.card.es10(request)

    # ------------------------------------------------------------------------------------------------- information

    async def eid(self) -> bytes:
        """Return the EID, 16 bytes."""
        response = await self.call(es10.get_eid())
        value = read(lambda raw: tlv.parse(raw, "GetEID").get(EID).value, response)
        if len(value) != EID_LENGTH:
            raise ProtocolError("EID", expected="16 bytes", found=value.hex())
        return value

    async def eims(self) -> tuple[EimConfigurationData, ...]:
        """Return the associated eIMs (GetEimConfigurationData)."""
        response = await self.call(es10_iot.get_eim_configuration_data())
        return read(answers.eim_configurations_of, response)

    async def certificates(self, ci_pk_id: bytes | None = None) -> tuple[bytes, bytes]:
        """Return the EUM's certificate and the eUICC's, DER (GetCerts). Raises AgentError (invalidCiPKId)."""
        return read(answers.certificates_of, await self.call(es10_iot.get_certs(ci_pk_id)))

    async def connectivity_parameters(self) -> bytes | None:
        """Return httpParams of the enabled profile. Raises AgentError (parametersNotAvailable)."""
        request = self._built(lambda: es10_iot.get_connectivity_parameters(self.version))
        return read(answers.connectivity_parameters_of, await self.call(request))

    async def enabled(self) -> bytes | None:
        """Return the ICCID of the enabled profile, 10 bytes; None where no profile is enabled."""
        for profile in await self._profiles(_STATE_TAGS):
            if _is_enabled(profile):
                iccid = profile.find(_ICCID)
                return iccid.value if iccid else None
        return None

    async def ecall_active(self) -> bool:
        """Tell whether an Emergency Profile is enabled."""
        for profile in await self._profiles(_ECALL_TAGS):
            mark = profile.find(_ECALL)
            if _is_enabled(profile) and mark is not None and mark.value not in (b"", b"\x00"):
                return True
        return False

    async def _profiles(self, tags: bytes) -> list[tlv.Tlv]:
        response = await self.call(es10.get_profiles_info(tags=tags))
        found = read(lambda raw: tlv.parse(raw, "GetProfilesInfo").find(0xA0), response)
        if found is None:
            raise ProtocolError("GetProfilesInfo", expected="A0 with the profiles", found=response[:16].hex())
        return [child for child in read(lambda raw: tlv.parse(raw).children(), found.raw) if child.tag == _PROFILE]

    # ------------------------------------------------------------------------------------------------------- lists

    async def retrieve(self, search: Search = Search()) -> Retrieved:  # noqa: B008 (frozen)
        """Return notifications or package results (RetrieveNotificationsList)."""
        request = es10_iot.retrieve_notifications(search.seq, search.events, search.package_results)
        return read(answers.retrieved, await self.call(request))

    async def package_results(self) -> list[SignedResult]:
        """Return the stored results of packages, as the eUICC signed them; of others than known kinds none."""
        found = []
        for raw in (await self.retrieve(Search(package_results=True))).package_results:
            result = read(euicc_package.parse_result, raw)
            if isinstance(result, SignedResult):
                found.append(result)
        return found

    async def package_result(self, seq: int) -> bytes | None:
        """Return one stored result (BF51), None where it is gone."""
        found = (await self.retrieve(Search(seq=seq))).package_results
        return found[0] if found else None

    async def remove(self, seqs: Sequence[int]) -> None:
        """Remove notifications and package results; what is gone already is gone."""
        for seq in seqs:
            try:
                await self.lpa.remove_notification(seq)
            except AgentError as exc:
                if exc.code != "nothingToDelete":
                    raise

    # ---------------------------------------------------------------------------------------------------- changes

    async def add_initial_eim(
        self, configurations: Sequence[EimConfigurationData | bytes] | bytes
    ) -> tuple[int | None, ...]:  # fmt: skip
        """Associate the first eIMs, see ``Ipa.add_initial_eim``. Raises AgentError, CodecError."""
        if isinstance(configurations, bytes | bytearray):
            raw = bytes(configurations)
            items = tlv.parse_all(raw, "EimConfigurationData")
            if [item.tag for item in items] == [es10_iot.IotTag.ADD_INITIAL_EIM]:
                return await self._associate(raw)
            configurations = [item.raw for item in items]
        return await self._associate(es10_iot.add_initial_eim(configurations, self.version))

    async def _associate(self, request: bytes) -> tuple[int | None, ...]:
        for left in reversed(range(_TRIES)):
            try:
                return read(answers.added_eims_of, await self.call(request))
            except ApduRefusedError:
                # A modem may have kept the answer alone. The eUICC takes first eIMs only while it has none (5.9.4):
                # those that it has now tell whether it took these.
                there = {eim.eim_id: eim.association_token for eim in await self.eims()}
                wanted = _eim_ids(request)
                if there and set(wanted) == set(there):
                    return tuple(there[name] for name in wanted)
                if there or not left:
                    raise
        raise ProtocolError("no association", expected=f"one of {_TRIES} tries")

    async def order(self, build: Callable[[Version], bytes]) -> str:
        """Call a function that answers with a code; return "ok", or the name of another code.

        ``build`` makes its request. Raises AgentError (notSupported) where the version does not have the function.
        """
        request = self._built(lambda: build(self.version))
        code, name = read(answers.result_code, await self.call(request))
        return "ok" if code == 0 else name

    async def rollback(self, refresh: bool) -> RollbackResult:
        """Go back to the profile before (ProfileRollback)."""
        return read(RollbackResult.parse, await self.call(es10_iot.profile_rollback(refresh)))

    def _built(self, build: Callable[[], bytes]) -> bytes:
        try:
            return build()
        except CodecError as exc:
            raise AgentError(f"{exc.where or 'ES10b'}: {exc.what}", code="notSupported") from exc


def _eim_ids(request: bytes) -> list[str]:
    """Return the eimIds of an AddInitialEimRequest (BF57); none of one that cannot be read."""
    try:
        (entries,) = tlv.parse(request, "AddInitialEim").children()
        return [EimConfigurationData.parse(entry.raw).eim_id for entry in entries.children()]
    except (CodecError, ValueError):
        return []


def read(parse: Callable[[bytes], T], response: bytes) -> T:
    """Parse an answer of the eUICC; its error choice is AgentError, a malformed one ProtocolError."""
    try:
        return parse(response)
    except IotError as exc:
        raise AgentError(f"the eUICC refused: {exc.what}", code=exc.name) from exc
    except CodecError as exc:
        raise ProtocolError(f"malformed answer of the eUICC: {exc}") from exc


def _is_enabled(profile: tlv.Tlv) -> bool:
    state = profile.find(_STATE)
    return state is not None and state.value == b"\x01"
