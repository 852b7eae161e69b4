"""What the REST API gives: devices, orders, results and what happened, as JSON values. No secrets are among them."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.esipa_objects import STATE_CHANGE_CAUSES
from esim_bench.codec.euicc_operations import AddEim, Operation, UpdateEim
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.identifiers import iccid_to_text
from esim_bench.codec.sgp32 import name_of
from esim_bench.errors import BenchError
from esim_bench.servers.eim.orders import DataOrder, DownloadOrder, Order, PackageOrder
from esim_bench.servers.eim.store import Device, EimOrder, NotificationRecord, ResultRecord
from esim_bench.servers.eim.view import View

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def moment(ns: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    if ns is None:
        return None
    return (_EPOCH + datetime.timedelta(microseconds=ns // 1000)).isoformat(timespec="milliseconds")


def encoded(data: bytes | None) -> str | None:
    """Return bytes as base64."""
    return None if data is None else base64.b64encode(data).decode()


def device(one: Device, *, with_view: bool = False) -> dict[str, Any]:
    """Return an eUICC of the inventory; its associationToken is not told."""
    result: dict[str, Any] = {
        "eid": one.eid.hex(),
        "label": one.label,
        "indirect": one.indirect,
        "associated": one.associated,
        "has_token": one.token is not None,
        "counter": one.counter,
        "certificates": one.euicc_certificate is not None,
        "added": moment(one.added_ns),
        "seen": moment(one.seen_ns),
    }
    if with_view:
        result["view"] = view(one.view)
    return result


def view(one: View) -> dict[str, Any]:
    """Return what is believed of an eUICC."""
    cause = one.state_change_cause
    return {
        "profiles": [
            {
                "iccid": iccid_to_text(profile.iccid),
                "state": profile.state,
                "name": profile.name,
                "provider": profile.provider,
                "fallback": profile.fallback,
            }
            for profile in one.profiles
        ],
        "complete": one.complete,
        "enabled": iccid_to_text(one.enabled_iccid) if one.enabled_iccid is not None else None,
        "eims": [{"eim_id": eim.eim_id, "id_type": eim.id_type} for eim in one.eims],
        "default_smdp_address": one.default_smdp_address,
        "root_smds_address": one.root_smds_address,
        "state_change_cause": None if cause is None else name_of(STATE_CHANGE_CAUSES, cause),
        "state_changed": one.state_changed,
        "network": one.network.hex().upper() if one.network is not None else None,
        "features": list(one.features) if one.features is not None else None,
    }


def order(one: EimOrder, *, whole: bool = False) -> dict[str, Any]:
    """Return an order; ``whole``: with what was ordered and what came back."""
    result: dict[str, Any] = {
        "id": one.id,
        "eid": one.eid.hex(),
        "kind": one.kind,
        "purpose": one.purpose.value,
        "state": one.state.value,
        "outcome": one.outcome,
        "created": moment(one.created_ns),
        "sent": moment(one.sent_ns),
        "sends": one.sends,
        "closed": moment(one.closed_ns),
        "counter": one.counter,
        "transaction_id": one.transaction_id.hex().upper() if one.transaction_id is not None else None,
        "verified": one.verified,
    }
    if whole:
        result["ordered"] = ordered(one.order)
        result["results"] = [operation_result(item) for item in one.results]
        result["data"] = _data(one)
        result["raw"] = encoded(one.raw or None)
    return result


def ordered(one: Order) -> dict[str, Any]:
    """Return what was ordered; a MatchingID is a secret of its order."""
    match one:
        case PackageOrder():
            return {"operations": [operation(item) for item in one.operations]}
        case DownloadOrder():
            return {
                "activation_code": _masked(one.activation_code),
                "default_smdp": one.default_smdp,
                "smds": one.smds,
                "smds_address": one.smds_address,
                "held": one.held,
            }
        case DataOrder():
            return {"tags": [f"{tag:X}" for tag in one.tags]}


def _masked(code: str | None) -> str | None:
    try:
        return None if code is None else ActivationCode.parse(code).masked
    except BenchError:
        return "***"


def operation(one: Operation) -> dict[str, Any]:
    """Return an operation as it would be ordered."""
    result: dict[str, Any] = {"op": one.NAME}
    if isinstance(one, AddEim | UpdateEim):
        return {**result, "configuration": encoded(one.configuration.encode()), "eim_id": one.configuration.eim_id}
    for member in fields(one):
        value = getattr(one, member.name)
        if isinstance(value, bytes):
            value = iccid_to_text(value) if member.name == "iccid" else value.hex().upper()
        result[member.name] = value
    return result


def operation_result(one: OperationResult) -> dict[str, Any]:
    """Return the eUICC's result of one operation."""
    result: dict[str, Any] = {"function": one.function, "code": one.code, "name": one.name, "done": one.done}
    if one.association_token is not None:
        result["association_token"] = one.association_token
    if one.function == "listEim":
        result["eims"] = [{"eim_id": eim.eim_id, "id_type": eim.id_type} for eim in one.eims]
    if one.content:
        result["content"] = encoded(one.content)
    return result


def _data(one: EimOrder) -> dict[str, Any] | None:
    found = one.data
    if found is None:
        return None
    result: dict[str, Any] = {}
    for member in fields(found):
        value = getattr(found, member.name)
        if value is None or member.name in ("association_token", "transaction_id"):
            continue
        if isinstance(value, bytes):
            value = encoded(value)
        elif isinstance(value, tuple):
            value = [encoded(item) for item in value]
        elif not isinstance(value, str | int):
            value = {"features": list(value.features), "protocols": list(value.protocols or ())}
        result[member.name] = value
    return result


def result_record(one: ResultRecord) -> dict[str, Any]:
    """Return a verified EuiccPackageResult."""
    return {
        "eid": one.eid.hex(),
        "seq": one.seq,
        "order": one.order_id,
        "at": moment(one.at_ns),
        "raw": encoded(one.raw),
    }


def notification(one: NotificationRecord) -> dict[str, Any]:
    """Return a verified notification and how far its delivery is."""
    return {
        "eid": one.eid.hex(),
        "seq": one.seq,
        "operation": one.operation,
        "iccid": iccid_to_text(one.iccid) if one.iccid is not None else None,
        "address": one.address,
        "at": moment(one.at_ns),
        "delivered": one.delivered,
        "attempts": one.attempts,
        "error": one.error,
        "raw": encoded(one.raw),
    }


def configuration(one: EimConfigurationData, raw: bytes, request: bytes) -> dict[str, Any]:
    """Return an EimConfigurationData, alone and as AddInitialEim's request, both base64 of their DER."""
    return {
        "eim_id": one.eim_id,
        "fqdn": one.fqdn,
        "counter": one.counter,
        "configuration": encoded(raw),
        "add_initial_eim": encoded(request),
    }


def audit(
    devices: Iterable[Device],
    orders: Iterable[EimOrder],
    results: Iterable[ResultRecord],
    notifications: Iterable[NotificationRecord],
) -> list[dict[str, Any]]:
    """Return what happened, oldest first, as far as the store tells of it."""
    events: list[tuple[int, str, dict[str, Any]]] = []
    for one in devices:
        events.append((one.added_ns, "device added", {"eid": one.eid.hex()}))
    for item in orders:
        about = {"eid": item.eid.hex(), "order": item.id, "kind": item.kind, "purpose": item.purpose.value}
        events.append((item.created_ns, "ordered", about))
        if item.sent_ns is not None:
            events.append((item.sent_ns, "sent", about))
        if item.closed_ns is not None:
            end = {"state": item.state.value, "outcome": item.outcome, "verified": item.verified}
            events.append((item.closed_ns, "closed", {**about, **end}))
    for result in results:
        about = {"eid": result.eid.hex(), "order": result.order_id, "seq": result.seq}
        events.append((result.at_ns, "result", about))
    for told in notifications:
        about = {"eid": told.eid.hex(), "seq": told.seq, "operation": told.operation, "delivered": told.delivered}
        events.append((told.at_ns, "notification", about))
    events.sort(key=lambda event: event[0])
    return [{"at": moment(at), "event": what, **about} for at, what, about in events]
