"""What an eIM needs of the relay that talks to SM-DP+s for eUICCs whose IPA downloads indirectly (SGP.32 3.2.3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from esim_bench.codec.esipa import Value
from esim_bench.servers.eim.store import EimOrder


class Relay(Protocol):
    """The port; :mod:`esim_bench.servers.eim.relay` has the real one."""

    async def handle(
        self, function: str, fields: Mapping[str, Value], *, eid: bytes | None, session: EimOrder | None
    ) -> Mapping[str, Value]:
        """Execute an ESipa function: fields in, fields out, as :mod:`esim_bench.codec.esipa` has them.

        ``eid``, ``session``: with initiateAuthentication, the eUICC and its download order that was sent, found by
        eimTransactionId or by the client's connection; None where neither tells. With all other functions the
        relay's own session (transactionId) tells, and both are None.

        ``handleNotification`` comes with ``pendingNotification``, a BF37 or the compact A0. For an installation of one
        of its sessions the relay returns ``pendingNotification`` (the BF37, byte for byte as the eUICC signed it) and
        ``eidValue``; for any other one nothing, {}. Forwarding is the eIM's, not the relay's.

        Raises EsipaError or any RspError: the function failed. CodecError: malformed fields. BenchError: no way to the
        SM-DP+, answered with undefinedError.
        """
