"""The IPA in the device (IPAd): polls its eIMs, does what they ask for, and tells what came of it (SGP.32 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from esim_bench.agents.ipa.context import BearerFor, Context, can_be_polled
from esim_bench.agents.ipa.data_requests import DataRequests
from esim_bench.agents.ipa.delivery import Delivery
from esim_bench.agents.ipa.downloads import Downloads
from esim_bench.agents.ipa.esipa_client import MalformedAnswerError
from esim_bench.agents.ipa.notifications import Notifications
from esim_bench.agents.ipa.packages import Packages
from esim_bench.agents.ipa.report import Done, PollReport, describe
from esim_bench.agents.ipa.settings import IpaSettings
from esim_bench.agents.ipa.state import StateStore
from esim_bench.agents.ipa.switching import Switching
from esim_bench.agents.lpa import Lpa
from esim_bench.codec import es10_iot
from esim_bench.codec.download_trigger import ProfileDownloadTrigger
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.esipa import EsipaError, Value
from esim_bench.codec.esipa_objects import PackageResultError
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.ipa_data import IpaEuiccDataRequest
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, BenchError, CodecError, ProtocolError, TransportError

NO_PACKAGE = 1
INVALID_FORMAT, UNKNOWN_PACKAGE = 1, 2
_ECOS = ("addEim", "deleteEim", "updateEim")


class Ipa:
    """The IPA of one card. ``lpa``: the card, and what SGP.32 shares with SGP.22.

    ``bearer_for``: the way to an eIM by its trusted TLS key. ``state``: the device's flash. ``recover``: brings card
    and terminal to a fresh start. ``connected``: whether the enabled profile gives connectivity now.
    """

    def __init__(
        self,
        lpa: Lpa,
        *,
        bearer_for: BearerFor,
        settings: IpaSettings,
        state: StateStore,
        recover: Callable[[], Awaitable[None]],
        connected: Callable[[], Awaitable[bool]],
    ) -> None:
        self.lpa = lpa
        self.settings = settings
        self._context = Context(lpa, bearer_for, settings, state, recover, connected)
        self._delivery = Delivery(self._context)
        self._packages = Packages(self._context, self._delivery)
        self._notifications = Notifications(self._context, self._delivery)
        self._switching = Switching(self._context)
        self._data = DataRequests(self._context, self._delivery)
        self._downloads = Downloads(self._context, self._delivery, self._notifications, self._switching)
        self._lock = asyncio.Lock()
        self._look_again = True
        """Whether the eUICC may keep results that this process does not know of."""

    # ------------------------------------------------------------------------------------------------------ eIMs

    async def eims(self) -> tuple[EimConfigurationData, ...]:
        """Return the associated eIMs (ES10b.GetEimConfigurationData)."""
        return await self._context.card.eims()

    async def add_initial_eim(
        self, configurations: Sequence[EimConfigurationData | bytes] | bytes
    ) -> tuple[int | None, ...]:  # fmt: skip
        """Associate the first eIMs; return the associationToken of each that got one.

        ``configurations``: values, or each one's DER (30); or the bytes of a file: one or several 30, or a whole
        AddInitialEimRequest (BF57), which goes to the eUICC as it is. Raises AgentError with the standard's name of the
        code, e.g. associatedEimAlreadyExists; CodecError for bytes that are none of these.
        """
        async with self._lock:
            return await self._context.card.add_initial_eim(configurations)

    async def certificates(self, ci_pk_id: bytes | None = None) -> tuple[bytes, bytes]:
        """Return the EUM's and the eUICC's certificate, DER, under a CI key. Raises AgentError (invalidCiPKId)."""
        return await self._context.card.certificates(ci_pk_id)

    # ------------------------------------------------------------------------------------------------------ polls

    async def poll(self, eim_id: str | None = None, *, cause: int | None = None) -> PollReport:
        """Do all that the eIMs, or one of them, have for this eUICC, until each says noEimPackageAvailable.

        First what an earlier poll could not finish. ``cause``: a stateChangeCause to tell. What goes wrong with one eIM
        stands in the report and holds up no other. Raises AgentError for an eIM that is not associated, and what the
        card raises when it cannot be read at all.
        """
        async with self._lock:
            return await self._poll_all(eim_id, cause)

    async def _poll_all(self, eim_id: str | None, cause: int | None) -> PollReport:
        # A lasting error with what is left over must not keep an eIM from being asked: it may be the cure.
        report = PollReport((await self._resume()).done)
        if eim_id is not None and all(eim.eim_id != eim_id for eim in self._context.eims):
            known = ", ".join(eim.eim_id for eim in self._context.eims) or "none"
            raise AgentError(f"no eIM {eim_id!r} is associated", code="eimNotFound", hint=f"associated: {known}")
        if self.settings.fallback_on_loss and self.settings.version >= Version.V1_2:
            await self._fall_back_on_loss(report)
        polled: set[str] = set()
        while True:
            # A package may have added an eIM, changed one, or deleted it.
            eim = next((eim for eim in self._context.eims if eim.eim_id not in polled), None)
            if eim is None:
                break
            polled.add(eim.eim_id)
            if eim_id not in (None, eim.eim_id) or (eim_id is None and not can_be_polled(eim)):
                continue
            if cause is not None:
                causes = {**self._context.keeper.now.causes, eim.eim_id: cause}
                self._context.keeper.update(causes=causes)
            try:
                await self._poll(eim, report)
            except BenchError as exc:
                self._look_again = True
                report.fail(eim.eim_id, exc)
                left = self._context.keeper.now
                if left.package is not None or left.download is not None:
                    # The card does not say what became of it: nothing else may be begun.
                    return report
        await self._notifications.deliver(report)
        return report

    async def _fall_back_on_loss(self, report: PollReport) -> None:
        if not self._context.eims or await self._context.wait_connected():
            return
        try:
            name = await self._switching.fall_back()
        except BenchError as exc:
            report.fail("", exc)
            return
        if name == "ok":
            report.add(Done("fallback", results=(name,)))
        if name != "ok" or not await self._context.wait_connected():
            report.fail("", TransportError("the enabled profile gives no connectivity", found=f"fallback: {name}"))

    async def resume(self) -> PollReport:
        """Finish what a power cut, or a network that was away, left undone. A poll does this first."""
        async with self._lock:
            return await self._resume()

    async def _resume(self) -> PollReport:
        report = PollReport()
        await self._context.look()
        await self._delivery.settle()
        await self._switching.resume(report)
        await self._packages.resume(report)
        await self._downloads.resume(report)
        await self._delivery.deliver_all(report)
        if self._look_again:
            await self._packages.deliver_stored(report)
            self._look_again = not report.ok
        return report

    # ------------------------------------------------------------------------------------ the device's own switches

    async def rollback(self) -> str:
        """Go back to the profile before the last package's, where that package allowed it (ES10b.ProfileRollback).

        The new result goes to the eIM at the next poll. Returns "ok" or the name of another code.
        """
        async with self._lock:
            await self._context.look()
            self._look_again = True
            return await self._packages.rollback()

    async def connectivity_lost(self) -> str:
        """React to a loss of connectivity: roll back where that is open, else execute the fallback mechanism.

        Returns "ok", or the name of the code why it could not be, such as fallbackNotAvailable. Raises AgentError
        (notSupported) in a version without it, and what the card raises.
        """
        async with self._lock:
            await self._context.look()
            if await self._packages.roll_back_pending():
                return "ok"
            return await self._switching.fall_back()

    async def connectivity_returned(self) -> str:
        """Go back to the profile of before the fallback (ES10b.ReturnFromFallback). Returns and raises as above."""
        async with self._lock:
            await self._context.look()
            return await self._switching.return_from_fallback()

    async def emergency(self, on: bool) -> str:
        """Enable or disable the Emergency Profile. Returns "ok", or the name of another code."""
        async with self._lock:
            await self._context.look()
            return await self._switching.emergency(on)

    async def immediate_enable(self) -> str:
        """Enable the profile that was just downloaded, where that is configured; return "ok" or another code's name."""
        async with self._lock:
            await self._context.look()
            return await self._switching.immediate_enable()

    async def configure_immediate_enable(
        self, enabled: bool, smdp_oid: str | None = None, smdp_address: str | None = None
    ) -> str:
        """Say, before an eIM is associated, from which SM-DP+ profiles may be enabled at once (5.9.17)."""
        return await self._context.card.order(
            lambda version: es10_iot.configure_immediate_profile_enabling(enabled, smdp_oid, smdp_address)
        )

    async def state_changed(self, cause: int) -> None:
        """Note a change of the eUICC's state by other means (``STATE_CHANGE_CAUSES``): all eIMs are told."""
        async with self._lock:
            await self._context.look()
            self._context.keeper.update(causes=self._context.causes(cause))

    # ---------------------------------------------------------------------------------------------------- one eIM

    async def _poll(self, eim: EimConfigurationData, report: PollReport) -> None:
        for _ in range(self.settings.most_packages):
            answer = await self._next(eim, report)
            if answer is None:
                return
            await self._do(eim, answer, report)
            now = next((one for one in self._context.eims if one.eim_id == eim.eim_id), None)
            if now is None:
                # It deleted itself.
                return
            eim = now
        text = f"eIM {eim.eim_id!r} has more packages than {self.settings.most_packages} in a poll"
        raise ProtocolError(text, expected="noEimPackageAvailable", hint="poll again")

    async def _next(self, eim: EimConfigurationData, report: PollReport) -> tuple[str, bytes] | None:
        """Ask an eIM for a package; return which of its kinds it is and the object, None when there is none."""
        fields: dict[str, Value] = {"eidValue": self._context.eid}
        keeper = self._context.keeper
        cause = keeper.now.causes.get(eim.eim_id)
        if cause is not None:
            fields["notifyStateChange"] = True
            if self.settings.version >= Version.V1_2:
                fields["stateChangeCause"] = cause
        if self.settings.network is not None:
            fields["rPLMN"] = self.settings.network
        try:
            answer = await self._context.client(eim).call("getEimPackage", fields)
        except MalformedAnswerError as exc:
            await self._refuse(eim, UNKNOWN_PACKAGE if exc.unknown else INVALID_FORMAT, None, report)
            raise
        code = answer.get("eimPackageError")
        if isinstance(code, int) and code != NO_PACKAGE:
            raise EsipaError("getEimPackage", code)
        if cause is not None:
            left = {name: one for name, one in keeper.now.causes.items() if name != eim.eim_id}
            keeper.update(causes=left)
        if code is not None:
            return None
        kind, raw = next(iter(answer.items()))
        if not isinstance(raw, bytes):
            raise ProtocolError("getEimPackage", expected="a package", found=kind)
        return kind, raw

    async def _do(self, eim: EimConfigurationData, answer: tuple[str, bytes], report: PollReport) -> None:
        kind, raw = answer
        match kind:
            case "euiccPackageRequest":
                result = await self._packages.run(eim, raw, report)
                if isinstance(result, SignedResult) and any(one.function in _ECOS for one in result.results):
                    self._context.eims = await self._context.card.eims()
            case "ipaEuiccDataRequest":
                try:
                    request = IpaEuiccDataRequest.parse(raw)
                except CodecError:
                    await self._refuse(eim, INVALID_FORMAT, None, report)
                    return
                await self._data.run(eim, request, await self._switching.ecall_active(), report)
            case "profileDownloadTriggerRequest":
                try:
                    ProfileDownloadTrigger.parse(raw)
                except CodecError:
                    await self._refuse(eim, INVALID_FORMAT, None, report)
                    return
                await self._downloads.run(eim, raw, report)

    async def _refuse(
        self, eim: EimConfigurationData, code: int, transaction: bytes | None, report: PollReport
    ) -> None:  # fmt: skip
        """Tell an eIM that nothing can be made of what it sent."""
        version = self.settings.version
        error = PackageResultError(code, transaction if version >= Version.V1_2 else None).encode(version)
        await self._delivery.provide(eim, error)
        report.add(Done("refused", eim.eim_id, transaction, describe(error, version), error))
