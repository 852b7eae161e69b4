"""What goes out next to an eUICC: packages signed once, and the eIM's own requests where it needs something first.

One order per eUICC is out at a time. Before its bytes leave they are stored, with the counterValue that they took;
asked again, the eIM gives the same bytes, so that an eUICC executes a package at most once whatever gets lost on the
way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from esim_bench.codec import euicc_package
from esim_bench.codec.euicc_operations import ListEim
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto import ecdsa
from esim_bench.crypto.keys import PrivateKey, load_private
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import CodecError, RigError
from esim_bench.servers.eim.credentials import EimCredentials
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.orders import (
    CERTIFICATE_TAGS,
    DATA,
    DOWNLOAD,
    PACKAGE,
    DataOrder,
    DownloadOrder,
    Order,
    PackageOrder,
    introduction_order,
    kind_of,
    results_order,
)
from esim_bench.servers.eim.store import Device, EimOrder, EimStore, OrderState, Purpose

log = logging.getLogger(__name__)

FIELDS: Final = {
    "package": "euiccPackageRequest",
    "data": "ipaEuiccDataRequest",
    "download": "profileDownloadTriggerRequest",
}
"""Kind of an order -> its field in getEimPackage's answer."""


class Packages:
    """The outgoing side. Calls are made inside a transaction of the store."""

    def __init__(
        self,
        credentials: EimCredentials,
        store: EimStore,
        randomness: Randomness,
        version: Version,
        limits: Limits,
        unanswered: Callable[[EimOrder, int], None],
    ) -> None:
        self._credentials = credentials
        self._store = store
        self._randomness = randomness
        self._version = version
        self._limits = limits
        self._unanswered = unanswered

    # --------------------------------------------------------------------------------------------------------- what

    def next(self, device: Device, now_ns: int) -> EimOrder | None:
        """Return the order whose ``request`` goes out now, stored as sent; None: there is nothing to do."""
        while True:
            order = self._due(device, now_ns)
            if order is None:
                return None
            if order.kind == PACKAGE or order.sends < self._limits.resends:
                break
            self._unanswered(order, now_ns)
            device = self._store.find_device(device.eid) or device
        if order.state is OrderState.QUEUED:
            order = self._made(device, order, now_ns)
        else:
            order = replace(order, sends=order.sends + 1)
        self._store.put_order(order)
        return order

    def _due(self, device: Device, now_ns: int) -> EimOrder | None:
        sent = self._store.orders(device.eid, OrderState.SENT)
        # The eIM's own ones come before what they are for.
        recovery = next((order for order in sent if order.purpose is Purpose.RECOVER), None)
        if recovery is not None:
            return recovery
        replayed = next((order for order in sent if order.replayed), None)
        if replayed is not None:
            return self._own(device, results_order(self._version), Purpose.RECOVER, now_ns, parent=replayed.id)
        if sent:
            return sent[0]
        queued = self._store.orders(device.eid, OrderState.QUEUED)
        if not queued:
            return None
        waits = now_ns < device.retry_ns
        stranger = device.euicc_certificate is None and any(order.kind != DATA for order in queued)
        if not waits and (stranger or self._relays(device, queued)):
            asked = [one for one in self._store.orders(device.eid) if one.purpose is Purpose.CERTIFICATES]
            if stranger or not asked:
                whole = not any(one.outcome == "incorrectTagList" for one in asked)
                request = introduction_order(device.ci_pk_id, all_of_it=whole)
                return self._own(device, request, Purpose.CERTIFICATES, now_ns)
        if stranger:
            return next((order for order in queued if order.kind == DATA), None)
        for order in queued:
            if order.kind != PACKAGE:
                return order
            if not device.associated:
                log.info("EID %s: order %d waits: not associated", device.eid.hex(), order.id)
            elif device.doubt is None:
                return order
            elif not waits:
                return self._own(device, PackageOrder((ListEim(),)), Purpose.PROBE, now_ns)
        return None

    def _relays(self, device: Device, queued: list[EimOrder]) -> bool:
        """Tell whether the relay will need to know of the eUICC and its IPA what is not known yet."""
        if device.view.features is not None or device.view.euicc_info1 is not None:
            return False
        downloads = [order.order for order in queued if order.kind == DOWNLOAD]
        return any(device.indirect or (isinstance(order, DownloadOrder) and order.held) for order in downloads)

    def _own(
        self, device: Device, order: Order, purpose: Purpose, now_ns: int, *, parent: int | None = None
    ) -> EimOrder:
        body = order.encode(self._version)
        return self._store.add_order(
            EimOrder(0, device.eid, kind_of(order), body, created_ns=now_ns, purpose=purpose, parent=parent)
        )

    # ---------------------------------------------------------------------------------------------------------- how

    def _made(self, device: Device, order: EimOrder, now_ns: int) -> EimOrder:
        """Make the bytes of an order and count its first sending.

        They are stored with its counterValue before anybody gets them.
        """
        ordered = order.order
        # By what came before for the same eUICC alone: a simulated slot's trace does not depend on the others.
        made: dict[str, Any]
        package = isinstance(ordered, PackageOrder)
        which = f"counter {device.counter}" if package else f"order {self._store.position(order)}"
        transaction = self._randomness.fork("eim", device.eid, which).bytes(16)
        if isinstance(ordered, PackageOrder):
            # A package in v1.0's form has room for the identifier as well.
            made = {"counter": device.counter, "transaction_id": transaction}
            made["request"] = self.signed(device, ordered, device.counter, transaction)
            self._store.put_device(replace(device, counter=device.counter + 1))
        elif isinstance(ordered, DownloadOrder):
            made = {"transaction_id": transaction, "request": ordered.trigger(transaction).encode()}
        else:
            made = self._data_request(ordered, transaction)
        return replace(order, **made, state=OrderState.SENT, sent_ns=now_ns, sends=order.sends + 1)

    def _data_request(self, ordered: DataOrder, transaction: bytes) -> dict[str, Any]:
        if self._version >= Version.V1_2:
            return {"transaction_id": transaction, "request": ordered.request(transaction).encode(self._version)}
        # v1.0's answer names neither eUICC nor request: the eUICC's certificate in it does.
        tags = (*ordered.tags, *(tag for tag in CERTIFICATE_TAGS if tag not in ordered.tags))
        return {"request": replace(ordered, tags=tags).request().encode(self._version)}

    def signed(self, device: Device, order: PackageOrder, counter: int, transaction: bytes | None) -> bytes:
        """Return an EuiccPackageRequest (BF51) for an eUICC, signed with the key that it knows. Raises CodecError."""
        part = euicc_package.package_signed(
            self._credentials.eim_id, device.eid, counter, order.operations, transaction, self._version
        )
        data = euicc_package.to_be_signed(part, device.token)
        signature = ecdsa.sign(self.key(device.key), data, deterministic=self._randomness.deterministic)
        return euicc_package.package_request(part, signature)

    def check_size(self, device: Device, order: PackageOrder) -> None:
        """Raise CodecError for a package that no eUICC need take."""
        length = len(self.signed(device, order, max(device.counter, 1 << 31), bytes(16)))
        if length > self._limits.package_bytes:
            most = f"at most {self._limits.package_bytes} bytes"
            raise CodecError("eUICC Package too long", expected=most, found=length)

    def key(self, name: str) -> PrivateKey:
        """Return a signing key by its name. Raises RigError when the store lost it."""
        if not name:
            return self._credentials.signing_key
        stored = self._store.find_key(name)
        if stored is None:
            raise RigError("the eIM's store lost a signing key", expected=name)
        return load_private(stored.private)
