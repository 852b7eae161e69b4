"""Rows of the eIM's store in SQLite, and the records that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

from esim_bench.servers.eim.store import Device, EimOrder, NotificationRecord, OrderState, Purpose
from esim_bench.servers.eim.view import View

# Columns in the order of the records' fields.
DEVICE: Final = (
    "eid, label, indirect, associated, token, counter, initial_counter, signing_key, doubt, ci_pk_id,"
    " euicc_certificate, eum_certificate, last_seq, added_ns, seen_ns, retry_ns, view"
)
ORDER: Final = (
    "id, eid, kind, body, state, created_ns, purpose, parent, counter, transaction_id, request, sent_ns, sends,"
    " closed_ns, raw, outcome, verified, replayed, new_key"
)
RESULT: Final = "eid, seq, digest, raw, order_id, at_ns"
NOTIFICATION: Final = "id, digest, eid, seq, address, raw, operation, iccid, at_ns, delivered, attempts, next_ns, error"
DEVICE_NAMES: Final = DEVICE.split(", ")
ORDER_NAMES: Final = ORDER.split(", ")


def kept(values: Iterable[Any]) -> list[Any]:
    """Return values as the file has them."""
    return [
        value.to_json() if isinstance(value, View) else value.value if isinstance(value, Enum) else value
        for value in values
    ]


def device_values(device: Device) -> tuple[Any, ...]:
    """Return a row of ``devices``, but for ``kept``."""
    return (
        device.eid,
        device.label,
        device.indirect,
        device.associated,
        # A token is as long as its eUICC likes; SQLite's integers are not.
        None if device.token is None else str(device.token),
        device.counter,
        device.initial_counter,
        device.key,
        device.doubt,
        device.ci_pk_id,
        device.euicc_certificate,
        device.eum_certificate,
        device.last_seq,
        device.added_ns,
        device.seen_ns,
        device.retry_ns,
        device.view,
    )


def device_of(row: Any) -> Device:
    """Read a row of ``devices``."""
    values = list(row)
    values[2:4] = map(bool, values[2:4])
    values[4] = None if values[4] is None else int(values[4])
    values[-1] = View.from_json(values[-1])
    return Device(*values)


def order_values(order: EimOrder) -> tuple[Any, ...]:
    """Return a row of ``orders``, but for ``kept``."""
    return (
        order.id,
        order.eid,
        order.kind,
        order.body,
        order.state,
        order.created_ns,
        order.purpose,
        order.parent,
        order.counter,
        order.transaction_id,
        order.request,
        order.sent_ns,
        order.sends,
        order.closed_ns,
        order.raw,
        order.outcome,
        order.verified,
        order.replayed,
        order.new_key,
    )


def order_of(row: Any) -> EimOrder:
    """Read a row of ``orders``."""
    values = list(row)
    values[4], values[6] = OrderState(values[4]), Purpose(values[6])
    values[-3:-1] = map(bool, values[-3:-1])
    return EimOrder(*values)


def notification_values(record: NotificationRecord) -> tuple[Any, ...]:
    """Return a row of ``notifications``."""
    return (
        record.id,
        record.digest,
        record.eid,
        record.seq,
        record.address,
        record.raw,
        record.operation,
        record.iccid,
        record.at_ns,
        record.delivered,
        record.attempts,
        record.next_ns,
        record.error,
    )


def notification_of(row: Any) -> NotificationRecord:
    """Read a row of ``notifications``."""
    values = list(row)
    values[9] = bool(values[9])
    return NotificationRecord(*values)
