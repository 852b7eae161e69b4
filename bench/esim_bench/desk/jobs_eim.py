"""Jobs with an eIM (SGP.32): the associated ones, and orders of the bench's own."""

from __future__ import annotations

from typing import Final

from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.identifiers import iccid_to_text
from esim_bench.desk.api import EimView, OrderView
from esim_bench.desk.jobs_euicc import pick
from esim_bench.errors import ConfigError
from esim_bench.rack import eim_way
from esim_bench.rack.eim_way import Document, OwnEim
from esim_bench.rack.slot import Slot
from esim_bench.trace.tree import Node

OPERATIONS: Final = {
    "enable": "enable",
    "disable": "disable",
    "delete": "delete",
    "list-profiles": "listProfileInfo",
}
"""What can be ordered, and its name in an eUICC Package (SGP.32 2.11.1.1)."""


async def eims(slot: Slot) -> list[EimView]:
    """List the associated eIMs. Raises DeviceError."""
    if not slot.spec.iot and await slot.iot() is None:
        return []
    return [_view(one) for one in await slot.ipa.eims()]


def _view(eim: EimConfigurationData) -> EimView:
    key = eim.public_key
    tls = eim.tls_key
    details = [
        Node(name="eimIdType", value=eim.id_type_name),
        Node(name="eimPublicKeyData", value=("certificate" if key.certificate else "public key") if key else ""),
        Node(name="trustedPublicKeyDataTls", value=("certificate" if tls.certificate else "public key") if tls else ""),
        Node(name="euiccCiPKId", value=eim.ci_pk_id.hex().upper() if eim.ci_pk_id else ""),
        Node(name="indirectProfileDownload", value="yes" if eim.indirect_download else "no"),
    ]
    return EimView(
        eim_id=eim.eim_id,
        fqdn=eim.fqdn or "",
        counter=eim.counter,
        token=eim.association_token,
        protocol=", ".join(eim.protocols or ()),
        details=[node for node in details if node.value],
    )


async def orders(slot: Slot) -> list[OrderView]:
    """List the orders of the bench's eIM for the slot's eUICC; none for one that it does not know."""
    _need_iot(slot)
    way = OwnEim(slot.world.eim())
    eid = await slot.lpa.eid()
    if await way.device(eid) is None:
        return []
    return [_order_view(await way.find(one["id"])) for one in await way.orders(eid)]


def _order_view(document: Document) -> OrderView:
    names = [result["name"] for result in document["results"]]
    return OrderView(
        number=str(document["id"]),
        what=_what(document),
        state=document["state"],
        result=", ".join(names) or document["outcome"],
    )


def _what(document: Document) -> str:
    operations = document["ordered"].get("operations") if document["ordered"] else None
    if not operations:
        return str(document["kind"])
    return ", ".join(f"{one['op']} {one.get('iccid') or ''}".strip() for one in operations)


async def order(slot: Slot, operation: str, iccid: str | None) -> list[OrderView]:
    """Order something, and have the IPA poll for it. A simulated eUICC is associated first, unless it is.

    Raises ConfigError; what kept the IPA from doing it: then the order waits for the next poll.
    """
    _need_iot(slot)
    if operation not in OPERATIONS:
        raise ConfigError("not an order", expected=f"one of {', '.join(OPERATIONS)}", found=operation)
    wanted: Document = {"op": OPERATIONS[operation]}
    if operation != "list-profiles":
        wanted["iccid"] = iccid_to_text(await pick(slot, iccid or ""))
    way = OwnEim(slot.world.eim())
    eid = await slot.lpa.eid()
    if await way.device(eid) is None:
        if not slot.spec.simulated:
            hint = f"esim-bench eim associate {slot.name}"
            raise ConfigError(f"EID {eid} is not known to eIM {await way.eim_id()}", hint=hint)
        await eim_way.associate(slot, way)
        slot.mark(f"associated with eIM {await way.eim_id()}")
    made = await way.order(eid, {"kind": "package", "operations": [wanted]})
    _, error = await eim_way.executed(slot, way, made)
    if error is not None:
        raise error
    return await orders(slot)


def _need_iot(slot: Slot) -> None:
    if not slot.spec.iot:
        raise ConfigError(
            "this device has no IPA",
            where=slot.name,
            expected="an ipa table in the rack file, or a simulated eUICC of SGP.32",
        )
