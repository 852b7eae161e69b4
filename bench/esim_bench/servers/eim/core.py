"""The eIM of a test bench (SGP.32): ESipa towards IPAs, inventory, orders and results towards the bench."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

from esim_bench.codec import esipa
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.esipa import EsipaError, Value
from esim_bench.codec.esipa_objects import RESULT_ERRORS, PackageResultError
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.identity import CiKey
from esim_bench.crypto.keys import PrivateKey
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import BenchError, CodecError, RspError
from esim_bench.es9_client import Es9Client
from esim_bench.ports import Bearer
from esim_bench.servers.asgi import AsgiApp
from esim_bench.servers.eim.credentials import EimCredentials
from esim_bench.servers.eim.functions import Caller, Functions, is_installation
from esim_bench.servers.eim.http import BODY_SECONDS, Connection, esipa_app
from esim_bench.servers.eim.keeping import Keeping
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.notifications import Notifications
from esim_bench.servers.eim.orders import DOWNLOAD, DownloadOrder, Order
from esim_bench.servers.eim.packages import Packages
from esim_bench.servers.eim.relaying import Relay
from esim_bench.servers.eim.results import Results, text_of
from esim_bench.servers.eim.store import Device, EimOrder, EimStore, OrderState
from esim_bench.servers.eim.trust import Trust
from esim_bench.servers.eim.view import View

log = logging.getLogger(__name__)

DELIVERIES = 20
"""Notifications that are delivered at a time."""

P = ParamSpec("P")
R = TypeVar("R")


class Eim:
    """An eIM. ``app`` is its ESipa as an ASGI application, to be called directly or served over TLS.

    ``credentials``: identifier, address, signing key. ``randomness``: seeded, identifiers depend on EID and order.
    ``now_ns``: the time by which certificates are judged and attempts are spaced, ns since 1970. ``version``: of ESipa
    and of what is signed; forms of other versions are understood as far as they can be told apart. ``relay``: for
    indirect downloads, see :class:`esim_bench.servers.eim.relaying.Relay`; None: they fail with undefinedError.
    ``trusted_cis``: eUICCs with certificates under these are believed. ``bearer``: the way to SM-DP+s for
    notifications; None: these are not taken, so that IPAs keep them. ``check_dates`` False: EUM and eUICC certificates
    hold on any day, since virtual time says nothing about certificates that were made in real time. ``executor``: one
    worker thread that runs the functions when they would hold up a real event loop; None, as on the virtual loop: they
    run where they are called. Raises ConfigError.
    """

    def __init__(
        self,
        credentials: EimCredentials,
        store: EimStore,
        randomness: Randomness,
        now_ns: Callable[[], int],
        *,
        trusted_cis: Sequence[CiKey],
        version: Version = Version.V1_2,
        relay: Relay | None = None,
        bearer: Bearer | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        check_dates: bool = True,
        executor: Executor | None = None,
    ) -> None:
        self.credentials = credentials
        self.version = version
        self.store = store
        self.relay = relay
        self._client = Es9Client(bearer) if bearer is not None else None
        self._now_ns = now_ns
        self._limits = limits
        self._executor = executor
        self._delivering = False
        self._connections: OrderedDict[Connection, bytes] = OrderedDict()
        trust = Trust(trusted_cis, check_dates=check_dates)
        self._notifications = Notifications(store, trust, limits, forwards=bearer is not None)
        results = Results(credentials, store, trust, self._notifications, limits)
        self._packages = packages = Packages(credentials, store, randomness, version, limits, results.unanswered)
        self._functions = Functions(store, packages, results, self._notifications, version, limits, now_ns)
        self._keeping = Keeping(credentials, store, trust, packages, results, version, limits, now_ns)
        self.app: AsgiApp = esipa_app(
            self.handle,
            self._after,
            version,
            max_body=limits.body_bytes,
            body_seconds=None if executor is None else BODY_SECONDS,
        )

    # ----------------------------------------------------------------------------------------------------- inventory

    def add_device(
        self,
        eid: bytes,
        *,
        label: str | None = None,
        indirect: bool | None = None,
        certificates: tuple[bytes, bytes] | None = None,
        ci_pk_id: bytes | None = None,
    ) -> Device:
        """Add an eUICC to the inventory; of one that is known, change what is given.

        ``eid``: 16 bytes. ``indirect``: whether it is offered downloads by way of the eIM. ``certificates``: the
        eUICC's and the EUM's, DER; without them the eIM asks for them before its first package. ``ci_pk_id``: key
        identifier of the CI under which the eUICC is to sign for this eIM. Raises ConfigError for no EID, CryptoError
        or CodecError for certificates that do not verify.
        """
        return self._keeping.add_device(eid, label, indirect, certificates, ci_pk_id)

    def device(self, eid: bytes) -> Device:
        """Return an eUICC of the inventory. Raises ConfigError."""
        return self._keeping.device(eid)

    def devices(self) -> tuple[Device, ...]:
        """Return the inventory, oldest first."""
        return tuple(self.store.devices())

    def view(self, eid: bytes) -> View:
        """Return what the eIM believes of an eUICC. Raises ConfigError."""
        return self.device(eid).view

    # -------------------------------------------------------------------------------------------------- association

    def configuration(
        self, eid: bytes, *, generate_token: bool = True, counter: int | None = None
    ) -> EimConfigurationData:
        """Return what an IPA's AddInitialEim, or another eIM's addEim, tells an eUICC of this eIM.

        ``generate_token``: have the eUICC make an associationToken. ``counter``: initial counterValue; None: one below
        what the next package takes. Raises ConfigError.
        """
        return self._keeping.configuration(eid, generate_token, counter)

    def associated(self, eid: bytes, token: int | None, counter: int | None = None) -> Device:
        """Note that an eUICC knows this eIM: packages for it go out from now on.

        ``token``: the associationToken that it answered; None: it has none. ``counter``: the counterValue that it was
        told (packages take greater ones); None: that of the last ``configuration``. A package that was out when the
        token changed is lost. Raises ConfigError.
        """
        return self._keeping.associated(eid, token, counter)

    def signing_key(self, eid: bytes) -> PrivateKey:
        """Return the key that signs for an eUICC now. Raises ConfigError."""
        return self._packages.key(self.device(eid).key)

    def rotate(self, eid: bytes, key: PrivateKey, certificate: bytes | None = None) -> EimOrder:
        """Order a new signing key for one eUICC (updateEim).

        The eIM signs with it as soon as the eUICC's result says ok. If the result is lost, a harmless package (listEim)
        shows which key the eUICC has, before any other goes out. ``certificate``: of the key, DER. Raises ConfigError.
        """
        return self._keeping.rotate(eid, key, certificate)

    # -------------------------------------------------------------------------------------------------------- orders

    def order(self, eid: bytes, order: Order) -> EimOrder:
        """Order something of an eUICC; orders go out one by one, in their order.

        Packages wait for the association. Raises ConfigError for an eUICC that is not known, too many orders, or what
        the version does not have; CodecError for a package that is too long.
        """
        return self._keeping.order(eid, order)

    def orders(self, eid: bytes | None = None) -> tuple[EimOrder, ...]:
        """Return the orders of an eUICC, or all, oldest first; the eIM's own ones (``purpose``) are among them."""
        return tuple(self.store.orders(eid))

    def find_order(self, order_id: int) -> EimOrder:
        """Return an order. Raises ConfigError."""
        return self._keeping.find_order(order_id)

    def cancel(self, order_id: int) -> EimOrder:
        """Cancel an order that has no result yet.

        One that was sent may be executed all the same; its result is then still taken. Raises ConfigError.
        """
        return self._keeping.cancel(order_id)

    # --------------------------------------------------------------------------------------------------------- ESipa

    async def handle(
        self, function: str, fields: Mapping[str, Value], connection: Connection = ("", 0)
    ) -> Mapping[str, Value]:
        """Execute an ESipa function: fields in, fields out, as :mod:`esim_bench.codec.esipa` has them.

        ``connection``: host and port of the client; with a port it tells whose a request is that has no EID. Raises
        EsipaError (an RspError), CodecError for malformed fields.
        """
        caller = Caller(connection[0], self._connections.get(connection))
        match function:
            case "getEimPackage":
                answer = await self._run(self._functions.get_package, fields)
                if answer.get("eimPackageError") in (None, 1):
                    self._remember(connection, fields["eidValue"])
                return answer
            case "provideEimPackageResult":
                relayed = await self._relayed(self._functions.installation(fields))
                return await self._run(self._functions.provide_result, fields, caller, relayed and relayed[0])
            case "handleNotification":
                await self._notification(fields, connection)
                return {}
            case "initiateAuthentication":
                order = await self._run(self._download, fields, caller)
                return await self._relay(function, fields, order)
        return await self._relay(function, fields, None)

    async def _notification(self, fields: Mapping[str, Value], connection: Connection) -> None:
        result = fields.get("provideEimPackageResult")
        if isinstance(result, bytes):
            _, inner = esipa.decode_request(result, self.version)
            await self.handle("provideEimPackageResult", inner, connection)
            return
        raw, eid = fields["pendingNotification"], None
        if isinstance(raw, bytes) and is_installation(raw):
            relayed = await self._relayed(raw)
            if relayed is None:
                # Whose it is, nobody can tell, and its server gets it from the IPA itself.
                log.warning("handleNotification: an installation result of no session")
                return
            raw, eid = relayed
        if isinstance(raw, bytes):
            await self._run(self._functions.take_notification, raw, eid)

    async def _relayed(self, raw: bytes | None) -> tuple[bytes, bytes] | None:
        """Return the full ProfileInstallationResult and its EID where it is of one of the relay's sessions."""
        if raw is None or self.relay is None:
            return None
        answer = await self._relay("handleNotification", {"pendingNotification": raw}, None)
        full, eid = answer.get("pendingNotification"), answer.get("eidValue")
        return (full, eid) if isinstance(full, bytes) and isinstance(eid, bytes) else None

    def _download(self, fields: Mapping[str, Value], caller: Caller) -> EimOrder | None:
        """Return the download that an IPA begins: by its eimTransactionId, else by the connection.

        An IPA of v1.0 that has a new connection for each request says neither: where one download alone waits for the
        SM-DP+ that it names, that is the one. Whose eUICC it is, the relay checks when the eUICC has signed.
        """
        transaction = fields.get("eimTransactionId")
        if isinstance(transaction, bytes):
            order = self.store.order_of_transaction(transaction)
            return order if order is not None and order.kind == DOWNLOAD and order.state is OrderState.SENT else None
        sent = [order for order in self.store.orders(caller.eid, OrderState.SENT) if order.kind == DOWNLOAD]
        if caller.eid is not None:
            return next(iter(sent), None)
        named = [order for order in sent if _address(order) == fields.get("smdpAddress")]
        return named[0] if len(named) == 1 else None

    async def _relay(self, function: str, fields: Mapping[str, Value], order: EimOrder | None) -> Mapping[str, Value]:
        if self.relay is None:
            raise EsipaError(function, esipa.UNDEFINED, "this eIM relays no downloads")
        try:
            return await self.relay.handle(function, fields, eid=order.eid if order else None, session=order)
        except (RspError, CodecError):
            raise
        except BenchError as exc:
            log.warning("%s: %s", function, text_of(exc))
            raise EsipaError(function, esipa.UNDEFINED, "no answer of the SM-DP+") from exc

    def _remember(self, connection: Connection, eid: Value) -> None:
        if connection[1] and isinstance(eid, bytes):
            self._connections[connection] = eid
            self._connections.move_to_end(connection)
            if len(self._connections) > self._limits.connections:
                self._connections.popitem(last=False)

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._executor is None:
            return function(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))

    # ------------------------------------------------------------------------------------------------- notifications

    async def deliver(self) -> int:
        """Deliver notifications that are due, and return how many got there.

        Called after each answer; a served eIM also calls it from time to time, for those whose server was away. Each
        stays in the store until its server took it. One call at a time does something.
        """
        if self._client is None or self._delivering:
            return 0
        self._delivering = True
        try:
            delivered, away = 0, dict[str, BenchError]()
            for record in await self._run(self.store.waiting_notifications, self._now_ns(), DELIVERIES):
                error = away.get(record.address)
                if error is None:
                    try:
                        await self._client.notify(record.address, record.raw)
                        delivered += 1
                    except BenchError as exc:
                        who = record.eid.hex()
                        log.warning("EID %s: notification %d not delivered: %s", who, record.seq, text_of(exc))
                        error = away[record.address] = exc
                await self._run(self._notifications.tried, record, error, self._now_ns())
            return delivered
        finally:
            self._delivering = False

    async def _after(self) -> None:
        try:
            await self.deliver()
        except BenchError as exc:
            # The client has its answer: this is none of its business.
            log.error("notifications: %s", text_of(exc))

    # ---------------------------------------------------------------------------------------------------------- push

    async def push(self, eid: bytes, exchange: Callable[[bytes], Awaitable[bytes]]) -> int:
        """Push what waits for an eUICC to an IPA that can be reached (TransferEimPackage), and take the results.

        ``exchange``: sends a message (BF4E) and returns the IPA's answer. Returns how many packages went out; ends when
        none is left, or when the IPA says that a result comes later. Raises ConfigError, CodecError.
        """
        self.device(eid)
        pushed = 0
        while True:
            fields = await self.handle("getEimPackage", {"eidValue": eid})
            if "eimPackageError" in fields:
                return pushed
            answer = esipa.decode_response("transferEimPackage", await exchange(self._transfer(fields)), self.version)
            pushed += 1
            result = answer.get("eimPackageResult")
            if "eimPackageError" in answer:
                code = answer["eimPackageError"]
                error = PackageResultError(code if code in RESULT_ERRORS and isinstance(code, int) else 127)
                result = error.encode(self.version)
            if not isinstance(result, bytes):
                return pushed
            taken = await self.handle("provideEimPackageResult", {"eidValue": eid, "eimPackageResult": result})
            if "eimAcknowledgements" in taken:
                await exchange(self._transfer(taken))
            await self.deliver()
            if "provideEimPackageResultError" in taken:
                return pushed

    def _transfer(self, fields: Mapping[str, Value]) -> bytes:
        return esipa.encode_request("transferEimPackage", fields, self.version)


def _address(order: EimOrder) -> str | None:
    """Return the SM-DP+ address of a download, where its activation code tells."""
    ordered = order.order
    if not isinstance(ordered, DownloadOrder) or ordered.activation_code is None:
        return None
    try:
        return ActivationCode.parse(ordered.activation_code).address
    except CodecError:
        return None
