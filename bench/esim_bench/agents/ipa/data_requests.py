"""IpaEuiccDataRequest: what an eIM wants to know of the eUICC and of the device (SGP.32 2.11.1.2, 3.4)."""

from __future__ import annotations

from collections.abc import Callable

from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.delivery import Delivery, seq_of
from esim_bench.agents.ipa.iot_card import read
from esim_bench.agents.ipa.report import Done, PollReport, describe
from esim_bench.codec import es10, euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_results import EuiccInfo1
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.ipa_data import IpaEuiccData, IpaEuiccDataError, IpaEuiccDataRequest, allowed_tags
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, DeviceError

INCORRECT_TAG_LIST = 1
CI_NOT_FOUND = 5
ECALL_ACTIVE = 104
UNDEFINED = 127


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DataRequests:
    """Answers to data requests. They leave no trace: one whose answer did not get there is asked again by the eIM."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._context = context
        self._card = context.card
        self._delivery = delivery

    async def run(
        self, eim: EimConfigurationData, request: IpaEuiccDataRequest, ecall: bool, report: PollReport
    ) -> None:  # fmt: skip
        """Answer a request, ``ecall``: while the Emergency Profile is enabled. Raises as ``Delivery.provide``."""
        version = self._context.settings.version
        transaction = request.transaction_id if version >= Version.V1_2 else None
        sent: list[int] = []
        certificates = False
        try:
            if ecall:
                raise _Refused(ECALL_ACTIVE if version >= Version.V1_2 else UNDEFINED)
            data = await self._data(eim, request, transaction)
            raw = data.encode(version)
            certificates = data.euicc_certificate is not None and data.eum_certificate is not None
            sent = [seq_of(one) for one in data.notifications or ()]
            sent += [result.seq for result in map(_signed, data.package_results or ()) if result is not None]
        except _Refused as exc:
            raw = IpaEuiccDataError(exc.code, transaction).encode(version)
        except (AgentError, DeviceError):
            # The eIM is told that it cannot be had; the device's owner why.
            await self._delivery.provide(eim, IpaEuiccDataError(UNDEFINED, transaction).encode(version))
            raise
        seqs = await self._delivery.provide(eim, raw, sent)
        if certificates:
            self._context.client(eim).knows_certificates = True
        keeper = self._context.keeper
        keeper.update(acknowledged=(*keeper.now.acknowledged, *seqs))
        report.add(Done("data", eim.eim_id, request.transaction_id, describe(raw, version), raw))
        await self._delivery.settle()

    async def _data(
        self, eim: EimConfigurationData, request: IpaEuiccDataRequest, transaction: bytes | None
    ) -> IpaEuiccData:  # fmt: skip
        version = self._context.settings.version
        if request.wrong_tags(version):
            raise _Refused(INCORRECT_TAG_LIST)
        names = {allowed_tags(version)[tag] for tag in request.tags}
        default, root = None, None
        if names & {"defaultSmdpAddress", "rootSmdsAddress"}:
            default, root = await self._context.lpa.addresses()
        eum, euicc = None, None
        if names & {"eumCertificate", "euiccCertificate"}:
            eum, euicc = await self._certificates(request.ci_pk_id or eim.ci_pk_id)
        notifications, results = await self._lists(eim, request, names)

        def asked(name: str, value: bytes | None) -> bytes | None:
            return value if name in names else None

        return IpaEuiccData(
            notifications=notifications,
            default_smdp_address=(default or None) if "defaultSmdpAddress" in names else None,
            package_results=results,
            euicc_info1=await self._card.call(es10.get_euicc_info1()) if "euiccInfo1" in names else None,
            euicc_info2=await self._card.call(es10.get_euicc_info2()) if "euiccInfo2" in names else None,
            root_smds_address=(root or None) if "rootSmdsAddress" in names else None,
            association_token=await self._token(eim) if "associationToken" in names else None,
            eum_certificate=asked("eumCertificate", eum),
            euicc_certificate=asked("euiccCertificate", euicc),
            transaction_id=transaction,
            capabilities=self._context.settings.capabilities if "ipaCapabilities" in names else None,
            device_info=asked("deviceInfo", self._context.lpa.device),
        )

    async def _token(self, eim: EimConfigurationData) -> int | None:
        now = next((one for one in await self._card.eims() if one.eim_id == eim.eim_id), None)
        return now.association_token if now is not None else None

    async def _certificates(self, ci_pk_id: bytes | None) -> tuple[bytes, bytes]:
        if ci_pk_id is not None:
            # It may be the begin of one; not every eUICC completes it.
            info1 = read(EuiccInfo1.parse, await self._card.call(es10.get_euicc_info1()))
            found = [one for one in info1.signing if one.startswith(ci_pk_id)]
            if not found:
                raise _Refused(CI_NOT_FOUND)
            ci_pk_id = found[0]
        try:
            return await self._card.certificates(ci_pk_id)
        except AgentError as exc:
            if exc.code == "invalidCiPKId":
                raise _Refused(CI_NOT_FOUND) from exc
            raise

    async def _lists(
        self, eim: EimConfigurationData, request: IpaEuiccDataRequest, names: set[str]
    ) -> tuple[tuple[bytes, ...] | None, tuple[bytes, ...] | None]:
        search = request.notifications or Search()
        notifications: tuple[bytes, ...] | None = None
        if "notificationsList" in names and not search.package_results:
            notifications = (await self._card.retrieve(search)).notifications
        wanted = "euiccPackageResultList" in names
        if self._context.settings.version < Version.V1_2 and "notificationsList" in names:
            # v1.0: one list has both, unless something is looked for.
            wanted = request.notifications is None or search.package_results
        if not wanted:
            return notifications, None
        stored = (await self._card.retrieve(Search(package_results=True))).package_results

        def is_asked(result: SignedResult | None) -> bool:
            # What another eIM ordered is none of this one's business, and not its to acknowledge.
            number = request.package_results_seq
            return result is not None and result.eim_id == eim.eim_id and number in (None, result.seq)

        return notifications, tuple(raw for raw in stored if is_asked(_signed(raw)))


def _signed(raw: bytes) -> SignedResult | None:
    parse: Callable[[bytes], euicc_package.EuiccPackageResult] = euicc_package.parse_result
    result = read(parse, raw)
    return result if isinstance(result, SignedResult) else None
