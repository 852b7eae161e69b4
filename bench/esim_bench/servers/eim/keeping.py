"""The operator's side of an eIM: inventory, associations, orders. Each call is one transaction of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from esim_bench.codec.eim_configuration import GENERATE_TOKEN, EimConfigurationData, KeyData
from esim_bench.codec.euicc_operations import UpdateEim
from esim_bench.codec.sgp32 import EID_LENGTH, Version, sized
from esim_bench.crypto.keys import PrivateKey, load_private, private_to_pem
from esim_bench.errors import CodecError, ConfigError
from esim_bench.servers.eim.credentials import EimCredentials, key_data, key_name
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.orders import Order, PackageOrder, kind_of
from esim_bench.servers.eim.packages import Packages
from esim_bench.servers.eim.results import Results
from esim_bench.servers.eim.store import Device, EimOrder, EimStore, OrderState, StoredKey
from esim_bench.servers.eim.trust import Trust

log = logging.getLogger(__name__)

MAX_LABEL = 200
MAX_COUNTER = 1 << 62


class Keeping:
    """See :class:`esim_bench.servers.eim.core.Eim`, which has the same methods."""

    def __init__(
        self,
        credentials: EimCredentials,
        store: EimStore,
        trust: Trust,
        packages: Packages,
        results: Results,
        version: Version,
        limits: Limits,
        now_ns: Callable[[], int],
    ) -> None:
        self._credentials = credentials
        self._store = store
        self._trust = trust
        self._packages = packages
        self._results = results
        self._version = version
        self._limits = limits
        self._now_ns = now_ns

    # ----------------------------------------------------------------------------------------------------- inventory

    def add_device(
        self,
        eid: bytes,
        label: str | None,
        indirect: bool | None,
        certificates: tuple[bytes, bytes] | None,
        ci_pk_id: bytes | None,
    ) -> Device:
        """Add an eUICC, or change what is given of one that is known."""
        if len(eid) != EID_LENGTH or not eid.hex().isdecimal():
            raise ConfigError("not an EID", expected="16 bytes of 32 decimal digits", found=eid[:20].hex())
        if label is not None and len(label) > MAX_LABEL:
            raise ConfigError("label too long", expected=f"at most {MAX_LABEL} characters", found=len(label))
        with self._store.transaction():
            now = self._now_ns()
            self._store.add_device(Device(bytes(eid), added_ns=now))
            device = self.device(eid)
            if label is not None:
                device = replace(device, label=label)
            if indirect is not None:
                device = replace(device, indirect=indirect)
            if ci_pk_id is not None:
                device = replace(device, ci_pk_id=sized(ci_pk_id, "euiccCiPKId", 1, 64))
            if certificates is not None:
                euicc, eum = certificates
                self._trust.chain_of(eid, euicc, eum, now)
                device = replace(device, euicc_certificate=euicc, eum_certificate=eum)
            self._store.put_device(device)
            return device

    def device(self, eid: bytes) -> Device:
        """Return an eUICC. Raises ConfigError."""
        device = self._store.find_device(bytes(eid))
        if device is None:
            hint = "add it to the eIM's inventory first"
            raise ConfigError(f"EID {eid.hex()} is not known to this eIM", hint=hint)
        return device

    # -------------------------------------------------------------------------------------------------- association

    def configuration(self, eid: bytes, generate_token: bool, counter: int | None) -> EimConfigurationData:
        """Return what AddInitialEim or addEim tells of this eIM, and remember its counterValue."""
        with self._store.transaction():
            device = self.device(eid)
            initial = max(device.counter - 1, 1) if counter is None else counter
            if not 0 <= initial < MAX_COUNTER:
                raise ConfigError("counterValue", expected=f"0 to {MAX_COUNTER - 1}", found=initial)
            self._store.put_device(replace(device, initial_counter=initial))
            return self._credentials.configuration(
                initial,
                GENERATE_TOKEN if generate_token else None,
                self._version,
                ci_pk_id=device.ci_pk_id,
                indirect=device.indirect,
                public_key=self._public_key(device.key),
            )

    def _public_key(self, name: str) -> KeyData | None:
        stored = self._store.find_key(name) if name else None
        return None if stored is None else key_data(load_private(stored.private), stored.certificate)

    def associated(self, eid: bytes, token: int | None, counter: int | None) -> Device:
        """Note an association; packages go out from now on."""
        with self._store.transaction():
            device = self.device(eid)
            given = device.initial_counter if counter is None else counter
            if not 0 <= given < MAX_COUNTER:
                raise ConfigError("counterValue", expected=f"0 to {MAX_COUNTER - 1}", found=given)
            if device.associated and device.token != token:
                # Whatever was signed with the former token, the eUICC will not accept any more.
                for order in self._store.orders(eid, OrderState.SENT):
                    if order.kind == "package":
                        self._results.lost(order, "associated anew before its result came", self._now_ns())
                device = self.device(eid)
            device = replace(
                device, associated=True, token=token, counter=max(device.counter, given + 1), doubt=None, retry_ns=0
            )
            self._store.put_device(device)
            log.info("EID %s: associated, counter %d", eid.hex(), device.counter)
            return device

    def rotate(self, eid: bytes, key: PrivateKey, certificate: bytes | None) -> EimOrder:
        """Order a new signing key for one eUICC."""
        name = "" if key_name(key) == key_name(self._credentials.signing_key) else key_name(key)
        data = key_data(key, certificate)
        with self._store.transaction():
            if name:
                self._store.add_key(StoredKey(name, private_to_pem(key), certificate))
            update = UpdateEim(EimConfigurationData(self._credentials.eim_id, public_key=data))
            return self._add(eid, PackageOrder((update,)), new_key=name)

    # -------------------------------------------------------------------------------------------------------- orders

    def order(self, eid: bytes, order: Order) -> EimOrder:
        """Order something."""
        if isinstance(order, PackageOrder):
            for operation in order.operations:
                own = isinstance(operation, UpdateEim) and operation.configuration.eim_id == self._credentials.eim_id
                if own and isinstance(operation, UpdateEim) and operation.configuration.public_key is not None:
                    hint = "order it as a rotation: the eIM needs the private key, too"
                    raise ConfigError("updateEim with a new key for this eIM itself", hint=hint)
        return self._add(eid, order)

    def _add(self, eid: bytes, order: Order, new_key: str | None = None) -> EimOrder:
        try:
            body = order.encode(self._version)
        except CodecError as exc:
            raise ConfigError(exc.what, where=exc.where, expected=exc.expected, found=exc.found) from exc
        with self._store.transaction():
            device = self.device(eid)
            if self._store.count_orders(eid, OrderState.QUEUED) >= self._limits.queue:
                raise ConfigError("too many orders wait for this eUICC", expected=f"at most {self._limits.queue}")
            if isinstance(order, PackageOrder):
                self._packages.check_size(device, order)
            new = EimOrder(0, device.eid, kind_of(order), body, created_ns=self._now_ns(), new_key=new_key)
            return self._store.add_order(new)

    def find_order(self, order_id: int) -> EimOrder:
        """Return an order. Raises ConfigError."""
        order = self._store.find_order(order_id)
        if order is None:
            raise ConfigError(f"no order {order_id}", hint="list the orders to see which there are")
        return order

    def cancel(self, order_id: int) -> EimOrder:
        """Cancel an order that has no result yet."""
        with self._store.transaction():
            order = self.find_order(order_id)
            if not order.state.open:
                raise ConfigError(f"order {order_id} is closed", expected="queued or sent", found=order.state.value)
            sent = order.state is OrderState.SENT
            outcome = "cancelled after it was sent: it may be executed" if sent else "cancelled"
            now = self._now_ns()
            closed = replace(
                order, state=OrderState.CANCELLED, outcome=outcome, closed_ns=now, replayed=False
            )  # fmt: skip
            self._store.put_order(closed)
            if sent and order.new_key is not None:
                self._results.doubt(order)
            for other in self._store.orders(order.eid, OrderState.QUEUED, OrderState.SENT):
                if other.parent == order.id:
                    self.cancel(other.id)
            return closed
