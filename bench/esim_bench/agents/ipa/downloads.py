"""Profile downloads that an eIM triggers: from an SM-DP+ directly, or by way of the eIM (SGP.32 3.2.3).

A trigger is in the journal before anything is done for it, and each session before the eUICC hears of it. After a power
cut the eUICC's ProfileInstallationResult, where it keeps one, is the outcome; else the download is begun again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from esim_bench.agents.download import EuiccRefusal, download_from
from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.delivery import Delivery, seq_of
from esim_bench.agents.ipa.esipa_server import EsipaServer, NotedServer
from esim_bench.agents.ipa.notifications import Notifications
from esim_bench.agents.ipa.report import Done, PollReport
from esim_bench.agents.ipa.settings import EIM_DOWNLOAD_DATA, INDIRECT
from esim_bench.agents.ipa.state import Download, Report, eim_of, eim_text
from esim_bench.agents.ipa.switching import OTHER_EIM, Switching
from esim_bench.agents.rsp_server import Es9Server, RspServer
from esim_bench.agents.secrecy import hide
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.download_trigger import ProfileDownloadTrigger, ProfileDownloadTriggerResult
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_results import InstallResult
from esim_bench.errors import AgentError, BenchError, CodecError, DeviceTimeout, RspError, TransportError

ECALL_ACTIVE = 104
UNDEFINED = 127


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a profile is downloaded."""

    server: RspServer
    matching_id: str
    indirect: bool


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there is no ProfileInstallationResult."""

    detail: str = ""
    reason: int = UNDEFINED
    response: bytes | None = None
    """The eUICC's error, as it came."""


class Downloads:
    """ProfileDownloadTriggers and what becomes of them."""

    def __init__(
        self, context: Context, delivery: Delivery, notifications: Notifications, switching: Switching
    ) -> None:  # fmt: skip
        self._context = context
        self._keeper = context.keeper
        self._delivery = delivery
        self._notifications = notifications
        self._switching = switching

    async def run(self, eim: EimConfigurationData, trigger: bytes, report: PollReport) -> None:
        """Do what a trigger (BF54, parsable) says, and bring the result to the eIM. Raises as ``Delivery.deliver``."""
        waiting = self._keeper.found(eim.eim_id, ProfileDownloadTrigger.parse(trigger).transaction_id)
        if waiting is not None:
            # It was done before, and the eIM has not heard of it yet.
            await self._delivery.deliver(waiting, report)
            return
        self._keeper.update(download=Download(eim_text(eim), trigger.hex()))
        await self._go_on(report)

    async def resume(self, report: PollReport) -> None:
        """Go on with a download that a power cut interrupted; failures are noted in ``report``."""
        record = self._keeper.now.download
        if record is None:
            return
        try:
            await self._go_on(report)
        except BenchError as exc:
            if self._keeper.now.download is not None:
                raise
            report.fail(eim_of(record.eim).eim_id, exc)

    async def _go_on(self, report: PollReport) -> None:
        record = self._keeper.now.download
        if record is None:
            return
        eim, trigger = eim_of(record.eim), ProfileDownloadTrigger.parse(bytes.fromhex(record.trigger))
        if await self._switching.ecall_active():
            await self._conclude(record, trigger, None, _Failure("ecallActive", ECALL_ACTIVE), report)
            return
        indirect = False
        installed = await self._kept(record.session)
        failure = _Failure()
        try:
            plan = await self._plan(eim, trigger)
            indirect = plan.indirect
            if installed is None:
                installed = await self._download(plan)
        except BenchError as exc:
            # What the eUICC refused, it says itself, with its signature.
            record = self._keeper.now.download or record
            installed = await self._kept(record.session)
            response = exc.response if isinstance(exc, EuiccRefusal) else None
            failure = _Failure(_reason(exc, trigger), UNDEFINED, response)
        record = self._keeper.now.download or record
        await self._conclude(record, trigger, installed, failure, report, indirect=indirect)

    async def _plan(self, eim: EimConfigurationData, trigger: ProfileDownloadTrigger) -> _Plan:
        """Decide between direct and indirect. Raises AgentError where the IPA can do neither."""
        settings = self._context.settings
        if trigger.smds:
            raise AgentError("there is no SM-DS to ask", code="smdsNotSupported")
        code: ActivationCode | None = None
        if trigger.activation_code is not None:
            try:
                code = ActivationCode.parse(trigger.activation_code)
            except CodecError as exc:
                # What is wrong with it is not said: all of it may be a secret.
                raise AgentError("not an activation code", code="invalidActivationCode") from exc
        elif trigger.default_smdp:
            code = await self._context.lpa.default_code()
        # An eIM says in its configuration that downloads are to go through it.
        by_eim = code is None or eim.indirect_download or not self._context.direct
        if by_eim and settings.has(INDIRECT):
            sends_address = code is not None and not settings.has(EIM_DOWNLOAD_DATA)
            server = EsipaServer(
                self._context.client(eim),
                address=code.address if code is not None and sends_address else None,
                smdp_oid=code.smdp_oid if code is not None else None,
                transaction=trigger.transaction_id,
            )
            return _Plan(server, code.matching_id if code is not None else "", True)
        if code is None:
            raise AgentError(
                "the trigger has no data, and this IPA downloads directly only", code="indirectNotSupported"
            )
        if not self._context.direct:
            raise AgentError("this IPA downloads no profiles", code="downloadNotSupported")
        return _Plan(Es9Server(self._context.lpa.es9, code), code.matching_id, False)

    async def _download(self, plan: _Plan) -> bytes:
        """Download, again after a while where the way broke; return the ProfileInstallationResult (BF37)."""
        failure: BenchError = AgentError("the download was interrupted too often", code="interrupted")
        for number, delay in enumerate(self._context.settings.delays()):
            record = self._keeper.now.download
            if record is None or record.attempts >= self._context.settings.tries:
                break
            if number:
                await asyncio.sleep(delay)
            self._keeper.update(download=replace(record, attempts=record.attempts + 1))
            try:
                result = await download_from(self._context.lpa, NotedServer(plan.server, self._note), plan.matching_id)
                return result.result.raw
            except (TransportError, DeviceTimeout) as exc:
                record = self._keeper.now.download
                kept = await self._kept(record.session if record is not None else "")
                if kept is not None:
                    return kept
                failure = exc
        raise failure

    async def _note(self, transaction_id: bytes) -> None:
        record = self._keeper.now.download
        if record is not None:
            self._keeper.update(download=replace(record, session=transaction_id.hex()))

    async def _kept(self, session: str) -> bytes | None:
        """Return the eUICC's result of a session (BF37), None where it keeps none."""
        if not session:
            return None
        for pending in await self._context.lpa.pending("install"):
            if pending.result is not None and pending.result.transaction_id.hex() == session:
                return pending.raw
        return None

    async def _conclude(
        self,
        record: Download,
        trigger: ProfileDownloadTrigger,
        installed: bytes | None,
        failure: _Failure,
        report: PollReport,
        *,
        indirect: bool = False,
    ) -> None:
        eim = eim_of(record.eim)
        result = ProfileDownloadTriggerResult(trigger.transaction_id, installed)
        if installed is None:
            result = replace(result, error_reason=failure.reason, error_response=failure.response)
        seq = seq_of(installed) if installed is not None else None
        item = Report(
            record.eim,
            "download",
            result.encode(self._context.settings.version).hex(),
            seq=seq,
            transaction_id=(trigger.transaction_id or b"").hex(),
            removable=indirect,
            detail="" if installed is not None else failure.detail,
        )
        success = installed is not None and InstallResult.parse(installed).success
        causes = self._context.causes(OTHER_EIM, but=eim.eim_id) if success else self._keeper.now.causes
        self._keeper.report(item, download=None, causes=causes)
        if success and self._context.settings.immediate_enable:
            name = await self._switching.immediate_enable()
            report.add(Done("immediateEnable", results=(name,)))
        await self._delivery.deliver(item, report)
        if seq is None or installed is None:
            return
        if not indirect:
            await self._notifications.deliver_one(seq)
        elif await self._still_waits(seq):
            # The eIM took it as its own result, and not as a notification for the SM-DP+.
            await self._notifications.relay(eim, installed, fresh=True)

    async def _still_waits(self, seq: int) -> bool:
        return any(one.seq == seq for one in await self._context.lpa.notifications())


def _reason(error: BenchError, trigger: ProfileDownloadTrigger) -> str:
    """Return what went wrong in a few words, without what is secret about the order."""
    if isinstance(error, AgentError) and error.code:
        return error.code
    text = str(error) if not isinstance(error, RspError) else f"{error.subject}/{error.reason} {error.message}".strip()
    code = ActivationCode.parse(trigger.activation_code) if trigger.activation_code is not None else None
    return hide(text, (code.matching_id,) if code is not None else ())
