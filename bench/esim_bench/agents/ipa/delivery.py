"""Bringing results to eIMs, and removing from the eUICC what they acknowledged (SGP.32 3.1.1.1, 5.14.6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.report import Done, PollReport, describe
from esim_bench.agents.ipa.state import Report, eim_of
from esim_bench.codec import tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_results import PendingNotification
from esim_bench.codec.esipa import EsipaError, Value
from esim_bench.codec.esipa_objects import PackageResult, acknowledged
from esim_bench.codec.sgp32 import SEQUENCE, Version
from esim_bench.errors import BenchError, CodecError, ProtocolError, RspError

MOST_REFUSALS: Final = 3
"""An eIM that refused a report so often was told."""


class Delivery:
    """ProvideEimPackageResult and what follows it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keeper = context.keeper

    async def provide(self, eim: EimConfigurationData, result: bytes, sent: Collection[int] = ()) -> tuple[int, ...]:
        """Give an EimPackageResult to an eIM; return what it acknowledged of the sequence numbers ``sent``.

        Numbers that it was not sent are another's: they are passed over. Raises EsipaError (refused), and as
        ``EsipaClient.call``.
        """
        fields: dict[str, Value] = {"eimPackageResult": result}
        if self._context.settings.version >= Version.V1_2:
            fields["eidValue"] = self._context.eid
        function = "provideEimPackageResult"
        answer = await self._context.client(eim).call(function, fields)
        code = answer.get("provideEimPackageResultError")
        if isinstance(code, int):
            raise EsipaError(function, code)
        numbers = answer.get("eimAcknowledgements")
        if not isinstance(numbers, bytes):
            return ()
        try:
            return tuple(seq for seq in dict.fromkeys(acknowledged(numbers)) if seq in sent)
        except CodecError as exc:
            raise ProtocolError(f"malformed acknowledgements of eIM {eim.eim_id!r}: {exc}") from exc

    async def provide_package_result(self, eim: EimConfigurationData, result: bytes, seq: int) -> tuple[int, ...]:
        """Give a stored EuiccPackageResult to its eIM, with the notifications where eIMs deliver these."""
        notifications: Sequence[bytes] = ()
        if not self._context.direct:
            notifications = await self._others()
        if not notifications:
            return await self.provide(eim, result, (seq,))
        both = PackageResult(result, tuple(notifications)).encode(self._context.settings.version)
        return await self.provide(eim, both, (seq, *map(seq_of, notifications)))

    async def _others(self) -> list[bytes]:
        """Return the waiting notifications but installation results, which are for the eIM of their session."""
        waiting = (await self._context.card.retrieve()).notifications
        return [raw for raw in waiting if tlv.parse_header(raw)[0] == SEQUENCE]

    async def settle(self) -> None:
        """Remove from the eUICC what was acknowledged."""
        seqs = self._keeper.now.acknowledged
        if seqs:
            await self._context.card.remove(seqs)
            self._keeper.update(acknowledged=())

    async def deliver(self, item: Report, report: PollReport) -> None:
        """Bring a report of the journal to its eIM. Raises as ``provide``; the report is then kept."""
        eim = eim_of(item.eim)
        # It may have moved since; of one that is associated no more, the last that was known is all there is.
        eim = next((one for one in self._context.eims if one.eim_id == eim.eim_id), eim)
        raw = bytes.fromhex(item.raw)
        try:
            if item.raw:
                sent = (item.seq,) if item.removable and item.seq is not None else ()
                seqs = await self.provide(eim, raw, sent)
            else:
                number = item.seq or 0
                stored = await self._context.card.package_result(number)
                if stored is None:
                    # Acknowledged before, or the oldest of too many.
                    self._keeper.replace_report(item, None)
                    return
                raw = stored
                seqs = await self.provide_package_result(eim, stored, number)
        except RspError:
            refused = replace(item, refusals=item.refusals + 1)
            self._keeper.replace_report(item, refused if refused.refusals < MOST_REFUSALS else None)
            raise
        told = (*self._keeper.now.acknowledged, *seqs)
        self._keeper.replace_report(item, None, acknowledged=told)
        transaction = bytes.fromhex(item.transaction_id) or None
        results = describe(raw, self._context.settings.version) + ((item.detail,) if item.detail else ())
        report.add(Done(item.kind, eim.eim_id, transaction, results, raw))
        await self.settle()

    async def deliver_all(self, report: PollReport) -> None:
        """Bring all reports to their eIMs, each eIM's in their order; failures are noted in ``report``."""
        await self.settle()
        for item in self._keeper.now.reports:
            eim = eim_of(item.eim)
            if eim.eim_id in report.errors:
                continue
            try:
                await self.deliver(item, report)
            except BenchError as exc:
                report.fail(eim.eim_id, exc)


def seq_of(notification: bytes) -> int:
    """Return the sequence number of a notification. Raises ProtocolError."""
    try:
        return PendingNotification.parse(tlv.parse(notification, "notification")).seq
    except CodecError as exc:
        raise ProtocolError(f"malformed notification of the eUICC: {exc}") from exc
