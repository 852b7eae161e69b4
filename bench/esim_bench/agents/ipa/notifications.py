"""Notifications: to their servers by the IPA itself, or by way of an eIM (SGP.32 3.6, 5.14.7)."""

from __future__ import annotations

from esim_bench.agents.ipa import compacting
from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.delivery import Delivery, seq_of
from esim_bench.agents.ipa.esipa_client import HttpStatusError
from esim_bench.agents.ipa.report import Done, PollReport
from esim_bench.agents.ipa.settings import MINIMIZE
from esim_bench.codec import tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import BenchError, CodecError

_BAD_REQUEST = 400
_INSTALL_RESULT = 0xBF37
_FUNCTION = "handleNotification"


class Notifications:
    """What the eUICC has to tell the servers of its profiles."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._context = context
        self._keeper = context.keeper
        self._delivery = delivery

    async def deliver(self, report: PollReport) -> None:
        """Deliver all that wait, oldest first, each removed when it was taken; failures are noted in ``report``."""
        try:
            if self._context.direct:
                for one in await self._context.lpa.deliver_notifications():
                    report.add(Done("notification", results=(f"{one.operation} {one.address}",)))
                return
            waiting = (await self._context.card.retrieve()).notifications
            eim = next((eim for eim in self._context.eims if eim.eim_id not in report.errors), None)
            if eim is None:
                return
            for raw in waiting:
                await self.relay(eim, raw)
                report.add(Done("notification", eim.eim_id, raw=raw))
        except BenchError as exc:
            report.fail("", exc)

    async def deliver_one(self, seq: int) -> None:
        """Deliver one over ES9+ if that goes now; it stays in the eUICC's list otherwise."""
        try:
            await self._context.lpa.deliver_notifications((seq,))
        except BenchError:
            return

    async def relay(self, eim: EimConfigurationData, raw: bytes, *, fresh: bool = False) -> None:
        """Give a notification to an eIM, which forwards it; then remove it. Raises as ``EsipaClient.notify``.

        ``fresh``: an installation result of a session that passed through this eIM just now.
        """
        client = self._context.client(eim)
        seq = seq_of(raw)
        sent = False
        # There is no answer that would tell of an eIM that cannot make a whole one of it again: it has to be known to.
        expandable = fresh if tlv.parse(raw).tag == _INSTALL_RESULT else client.knows_certificates
        if self._context.settings.has(MINIMIZE) and expandable and _FUNCTION not in client.refused_compact:
            eid = self._context.eid if self._context.settings.version >= Version.V1_2 else b""
            try:
                await client.notify({"pendingNotification": compacting.notification(raw, eid)})
                sent = True
            except CodecError:
                # It has no compact form.
                pass
            except HttpStatusError as exc:
                if exc.status != _BAD_REQUEST:
                    raise
                client.refused_compact.add(_FUNCTION)
        if not sent:
            await client.notify({"pendingNotification": raw})
        self._keeper.update(acknowledged=(*self._keeper.now.acknowledged, seq))
        await self._delivery.settle()
