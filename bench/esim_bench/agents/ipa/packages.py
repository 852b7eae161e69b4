"""eUICC Packages: to the eUICC and back as they are, and back to the old profile where the new one leads nowhere.

The decision whether to roll back survives a power cut: what is under way is in the journal before the eUICC is given
the package, and the eUICC keeps the result (SGP.32 3.3.1, 3.3.1.3).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.delivery import Delivery
from esim_bench.agents.ipa.esipa_client import HttpStatusError
from esim_bench.agents.ipa.iot_card import read
from esim_bench.agents.ipa.report import Done, PollReport, describe
from esim_bench.agents.ipa.state import Act, Package, Report, eim_of, eim_text
from esim_bench.agents.ipa.switching import OTHER_EIM
from esim_bench.codec import euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_iot_answers import RollbackResult
from esim_bench.codec.esipa_objects import PackageResultError
from esim_bench.codec.euicc_operations import Enable
from esim_bench.codec.euicc_package import EuiccPackageRequest, EuiccPackageResult, SignedResult
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import (
    AgentError,
    BenchError,
    CardStatusError,
    CodecError,
    DeviceError,
    DeviceTimeout,
    ProtectedError,
    ProtocolError,
    RspError,
    TransportError,
)

UNDEFINED = 127
_SWITCHING = ("enable", "disable")
_READING = ("listProfileInfo", "getRAT", "listEim", "processingTerminated")
_BACK = "rollback"
_CAT_BUSY = 5


class Packages:
    """LoadEuiccPackage and all that follows from it."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._context = context
        self._card = context.card
        self._keeper = context.keeper
        self._delivery = delivery

    async def run(self, eim: EimConfigurationData, request: bytes, report: PollReport) -> EuiccPackageResult | None:
        """Have the eUICC execute a package (BF51) of an eIM, and bring the result to that eIM.

        Returns what the eUICC answered first, None where it had done so at an earlier time. Raises what stood in the
        way of the result's delivery; the result is kept then, and delivered later.
        """
        record = self._record(eim, request)
        waiting = self._keeper.found(eim.eim_id, bytes.fromhex(record.transaction_id))
        if waiting is not None:
            # It was done before, and the eIM has not heard of it yet.
            await self._delivery.deliver(waiting, report)
            return None
        self._keeper.update(package=record)
        result = await self._load(record, request, report)
        if isinstance(result, SignedResult):
            await self._finish(record, result, report)
            return result
        # The eUICC keeps no errors: this is the only copy.
        error = Report(record.eim, "package", result.raw.hex(), transaction_id=record.transaction_id)
        self._keeper.report(error, package=None)
        await self._delivery.deliver(error, report)
        return result

    async def resume(self, report: PollReport) -> None:
        """Finish a package that a power cut or an error interrupted. Raises as ``run``."""
        record = self._keeper.now.package
        if record is None:
            return
        result = await self._stored(record)
        if result is None:
            # It was never executed: the eIM has it still.
            self._keeper.update(package=None)
            return
        try:
            if _went_back(result):
                await self._finish(replace(record, stage="back"), result, report)
            elif record.stage == "rollback":
                await self._roll_back(record, result, TransportError("the new profile gave no connectivity"), report)
            else:
                await self._finish(record, result, report)
        except BenchError as exc:
            if self._keeper.now.package is not None:
                # Nothing else may be begun before the eUICC says what became of it.
                raise
            report.fail(eim_of(record.eim).eim_id, exc)

    async def roll_back_pending(self) -> bool:
        """Go back to the old profile where a package allowed that and its result is not delivered yet."""
        record = self._keeper.now.package
        if record is None or not record.rollback or record.stage not in ("switched", "rollback"):
            return False
        self._keeper.update(package=replace(record, stage="rollback"))
        code = (await self._back(record)).code
        self._keeper.update(package=replace(record, stage="back") if code == 0 else record)
        if code == 0:
            await self._context.recover()
        return code == 0

    async def rollback(self) -> str:
        """Call ProfileRollback on the operator's word; return "ok" or the name of another code."""
        if await self.roll_back_pending():
            return "ok"
        before = await self._card.enabled() or b""
        self._keeper.update(act=Act(_BACK, UNDEFINED, before.hex()))
        answer = await self._card.rollback(refresh=True)
        causes = self._context.causes(UNDEFINED) if answer.code == 0 else self._keeper.now.causes
        self._keeper.update(act=None, causes=causes)
        if answer.code == 0:
            await self._context.recover()
        return answer.name

    async def deliver_stored(self, report: PollReport) -> None:
        """Bring results that the eUICC still keeps to their eIMs, as far as these are associated."""
        known = {item.seq for item in self._keeper.now.reports if not item.raw}
        eims = {eim.eim_id: eim for eim in self._context.eims}
        for result in await self._card.package_results():
            eim = eims.get(result.eim_id)
            if eim is None or result.seq in known or eim.eim_id in report.errors:
                continue
            transaction = (result.transaction_id or b"").hex()
            item = Report(eim_text(eim), "package", seq=result.seq, transaction_id=transaction)
            try:
                await self._delivery.deliver(item, report)
            except BenchError as exc:
                report.fail(eim.eim_id, exc)

    # -------------------------------------------------------------------------------------------------- execution

    def _record(self, eim: EimConfigurationData, request: bytes) -> Package:
        try:
            package = EuiccPackageRequest.parse(request, Version.V1_3)
        except CodecError:
            # The eUICC says what is wrong with it, to the eIM.
            name, transaction = euicc_package.identity(request)
            return Package(eim_text(eim), name or "", -1, (transaction or b"").hex(), False)
        rollback = any(isinstance(one, Enable) and one.rollback for one in package.operations)
        transaction = package.transaction_id or b""
        return Package(eim_text(eim), package.eim_id, package.counter, transaction.hex(), rollback)

    async def _load(self, record: Package, request: bytes, report: PollReport) -> EuiccPackageResult:
        try:
            answer = await self._card.call(request)
            try:
                return euicc_package.parse_result(answer)
            except CodecError as exc:
                raise ProtocolError(f"malformed EuiccPackageResult: {exc}") from exc
        except ProtectedError:
            # It never left: the slot's owner does not want it.
            await self._give_up(record, report)
            raise
        except DeviceError as exc:
            # "Command failed" is not "card unchanged": the eUICC may have done it, and keeps its result.
            if not isinstance(exc, CardStatusError | ProtocolError):
                await self._context.recover()
            result = await self._stored(record)
            if result is not None:
                return result
            if isinstance(exc, CardStatusError | ProtocolError):
                # It would say the same the next time: the eIM has to know.
                await self._give_up(record, report)
            else:
                self._keeper.update(package=None)
            raise

    async def _give_up(self, record: Package, report: PollReport) -> None:
        version = self._context.settings.version
        transaction = bytes.fromhex(record.transaction_id) if version >= Version.V1_2 else b""
        raw = PackageResultError(UNDEFINED, transaction or None).encode(version)
        error = Report(record.eim, "package", raw.hex(), transaction_id=record.transaction_id)
        self._keeper.report(error, package=None)
        await self._delivery.deliver(error, report)

    async def _stored(self, record: Package) -> SignedResult | None:
        """Return the eUICC's stored result of a package, the last where there are several."""
        found = None
        for result in await self._card.package_results():
            transaction = (result.transaction_id or b"").hex()
            if (result.eim_id, result.counter, transaction) == (record.eim_id, record.counter, record.transaction_id):
                found = result if found is None or result.seq > found.seq else found
        return found

    # --------------------------------------------------------------------------------------------------- delivery

    async def _finish(self, record: Package, result: SignedResult, report: PollReport) -> None:
        """Bring up what the package switched to, and deliver its result over that; or go back."""
        if record.stage == "load" and _changes(result):
            record = replace(record, stage="switched" if _switches(result) else "load")
            self._keeper.update(package=record, causes=self._context.causes(OTHER_EIM, but=record.eim_id))
        eim = eim_of(record.eim)
        away: BenchError | None = None
        if record.stage != "load":
            await self._context.recover()
            if not await self._context.wait_connected():
                away = TransportError("the enabled profile gives no connectivity")
        if away is None:
            try:
                seqs = await self._delivery.provide_package_result(eim, result.raw, result.seq)
            except HttpStatusError as exc:
                # Whoever answers was reached: it is not the profile that is wrong.
                self._keep(record, result)
                raise exc
            except (TransportError, DeviceTimeout) as exc:
                away = exc
            except (RspError, ProtocolError, AgentError):
                self._keep(record, result)
                raise
            else:
                self._keeper.update(package=None, acknowledged=(*self._keeper.now.acknowledged, *seqs))
                names = describe(result.raw, self._context.settings.version)
                transaction = bytes.fromhex(record.transaction_id) or None
                report.add(Done("package", eim.eim_id, transaction, names, result.raw))
                await self._delivery.settle()
                return
        if record.stage == "switched" and record.rollback:
            await self._roll_back(record, result, away, report)
            return
        self._keep(record, result)
        raise away

    def _keep(self, record: Package, result: SignedResult) -> None:
        """Leave the result to a later poll; the eUICC keeps it as long."""
        later = Report(record.eim, "package", seq=result.seq, transaction_id=record.transaction_id)
        self._keeper.report(later, package=None)

    async def _roll_back(self, record: Package, result: SignedResult, away: BenchError, report: PollReport) -> None:
        """Go back to the profile before, once, and deliver the result that says so."""
        record = replace(record, stage="rollback")
        self._keeper.update(package=record)
        answer = await self._back(record)
        transaction = bytes.fromhex(record.transaction_id) or None
        if answer.code != 0:
            report.add(Done(_BACK, eim_of(record.eim).eim_id, transaction, (answer.name,)))
            self._keep(record, result)
            raise away
        report.add(Done(_BACK, eim_of(record.eim).eim_id, transaction, ("ok",)))
        record = replace(record, stage="back")
        self._keeper.update(package=record)
        await self._finish(record, await self._replaced(record, answer) or result, report)

    async def _replaced(self, record: Package, answer: RollbackResult) -> SignedResult | None:
        """Return the result that took the place of the first one: it came with the answer of ProfileRollback."""
        if answer.package_result is not None:
            replaced = read(euicc_package.parse_result, answer.package_result)
            if isinstance(replaced, SignedResult):
                return replaced
        # Its terminal resets the card after the switch: until that is over it cannot be asked.
        await self._context.recover()
        return await self._stored(record)

    async def _back(self, record: Package) -> RollbackResult:
        """Call ProfileRollback; return its answer."""
        answer = RollbackResult(_CAT_BUSY)
        for delay in self._context.settings.delays():
            if delay:
                await asyncio.sleep(delay)
            try:
                answer = await self._card.rollback(refresh=True)
            except DeviceError:
                # It may have gone back all the same, and then its stored result says so.
                await self._context.recover()
                stored = await self._stored(record)
                if stored is not None and _went_back(stored):
                    return RollbackResult(0, stored.raw)
                continue
            if answer.code != _CAT_BUSY:
                break
        return answer


def _switches(result: SignedResult) -> bool:
    return any(one.function in _SWITCHING and one.done for one in result.results)


def _changes(result: SignedResult) -> bool:
    return any(one.done and one.function not in _READING for one in result.results)


def _went_back(result: SignedResult) -> bool:
    return any(one.function == _BACK for one in result.results)
