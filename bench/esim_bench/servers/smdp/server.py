"""The SM-DP+ of a test bench (SGP.22): ES9+ towards LPAs, orders and results towards the bench."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import ConfigError
from esim_bench.servers.asgi import AsgiApp
from esim_bench.servers.smdp.core import SmdpCore
from esim_bench.servers.smdp.credentials import SmdpCredentials
from esim_bench.servers.smdp.http import BODY_SECONDS, es9_app
from esim_bench.servers.smdp.limits import Limits
from esim_bench.servers.smdp.session import LIFETIME_NS, Fields
from esim_bench.servers.smdp.store import Order, SmdpStore


class Smdp:
    """An SM-DP+. ``app`` is its ES9+ as an ASGI application, to be called directly or served over TLS.

    ``credentials``: its keys and certificates under one or several CIs. ``randomness``: seeded, each session depends on
    the eUICC's challenge alone. ``addresses``: its own host names, compared without case and port. ``now_ns``: the time
    by which certificates, sessions and orders are judged, ns since 1970. ``random_keys``: orders that do not say are
    protected under random keys (PPK) instead of session keys. ``limits``: see :class:`Limits`. ``check_dates`` False:
    EUM and eUICC certificates hold on any day, since virtual time says nothing about certificates that were made in
    real time. ``executor``: one worker thread that runs the functions when they would hold up a real event loop; None,
    as on the virtual loop: they run where they are called. Raises ConfigError.
    """

    def __init__(
        self,
        credentials: SmdpCredentials,
        store: SmdpStore,
        randomness: Randomness,
        addresses: Sequence[str],
        now_ns: Callable[[], int],
        *,
        session_lifetime_ns: int = LIFETIME_NS,
        random_keys: bool = False,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        check_dates: bool = True,
        executor: Executor | None = None,
    ) -> None:
        self._core = SmdpCore(
            credentials,
            store,
            randomness,
            addresses,
            now_ns,
            session_lifetime_ns=session_lifetime_ns,
            limits=limits,
            check_dates=check_dates,
        )
        self.store = store
        self._random_keys = random_keys
        self._executor = executor
        self.app: AsgiApp = es9_app(self.handle, body_seconds=None if executor is None else BODY_SECONDS)

    async def handle(self, function: str, fields: Mapping[str, bytes | str]) -> Fields:
        """Execute an ES9+ function: fields in, fields out, as described in :mod:`esim_bench.servers.smdp.core`.

        Raises StatusError (an RspError, with the functionExecutionStatus) or CodecError for malformed fields.
        """
        if self._executor is None:
            return self._core.handle(function, fields)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._core.handle, function, fields)

    def release(
        self,
        upp: bytes,
        metadata: bytes,
        matching_id: str,
        *,
        eid: bytes | None = None,
        confirmation_code: str | None = None,
        test_order: bool = False,
        released: bool = True,
        expires_ns: int | None = None,
        max_downloads: int = 10,
        max_cc_failures: int = 3,
        rebinding: bool = True,
        random_keys: bool | None = None,
    ) -> Order:
        """Have a profile ready for download.

        ``upp``: the profile package (profile elements). ``metadata``: StoreMetadataRequest, BF25, of the same ICCID.
        ``matching_id``: "" for a default order, found by EID. ``eid``: 16 bytes, the only eUICC that may have it.
        ``test_order``: any number of eUICCs, again and again, in spite of the one ICCID. ``released`` False: prepared
        only; release it with a second call. ``expires_ns``: ns since 1970. ``max_downloads``: attempts of an ordinary
        order, of all eUICCs together. ``rebinding`` False: a second binding only for the eUICC's same one-time key.
        ``random_keys``: protect it under random keys (PPK) or not; None: as the server does. The same order a second
        time changes its settings and keeps its state.

        Raises CodecError for a malformed package or metadata, ConfigError for a contradiction, StatusError 8.1.1/2.2
        for an ordinary order with neither MatchingID nor EID (as ES2+.ConfirmOrder does).
        """
        return self._core.orders.release(
            upp,
            metadata,
            matching_id,
            eid=eid,
            confirmation_code=confirmation_code,
            test_order=test_order,
            released=released,
            expires_ns=expires_ns,
            max_downloads=max_downloads,
            max_cc_failures=max_cc_failures,
            rebinding=rebinding,
            random_keys=self._random_keys if random_keys is None else random_keys,
        )

    def cancel_order(self, matching_id: str) -> Order:
        """Cancel a pending order (ES2+.CancelOrder). Raises ConfigError when there is none."""
        order = self.store.find_order(matching_id)
        if order is None:
            raise ConfigError("no order of this MatchingID")
        return self._core.orders.cancel(order)
