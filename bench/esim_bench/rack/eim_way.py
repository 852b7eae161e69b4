"""The eIM that work by hand speaks to, and what is done with it: associate, order, have the IPA poll.

What an eIM takes and gives are the REST API's documents, whether it is that of this process or a served one.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from pydantic import TypeAdapter, ValidationError

from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.errors import BenchError, ConfigError
from esim_bench.rack.slot import Slot
from esim_bench.servers.eim import Eim, rest_views
from esim_bench.servers.eim.rest_models import OrderModel

Document = dict[str, Any]

POLLS: Final = 12
"""Polls after which an order is left open: the eIM may ask for certificates and the like before it."""


class EimWay(Protocol):
    """What the commands need of an eIM. EIDs are 32 digits, tokens int or None. Raises BenchError."""

    async def eim_id(self) -> str:
        """Return its eimId."""

    async def add_device(self, eid: str, label: str | None, indirect: bool | None) -> None:
        """Add an eUICC, or change what is given."""

    async def configuration(self, eid: str) -> bytes:
        """Return the EimConfigurationData for AddInitialEim, DER."""

    async def associated(self, eid: str, token: int | None) -> None:
        """Tell what AddInitialEim answered."""

    async def device(self, eid: str) -> Document | None:
        """Return an eUICC with what the eIM believes of it; None: not in its inventory."""

    async def orders(self, eid: str) -> list[Document]:
        """Return the orders of an eUICC, oldest first."""

    async def order(self, eid: str, wanted: Document) -> Document:
        """Order something."""

    async def find(self, number: int) -> Document:
        """Return an order with its results."""


class OwnEim:
    """The eIM of this process."""

    def __init__(self, eim: Eim) -> None:
        self._eim = eim
        self._adapter: TypeAdapter[Any] = TypeAdapter(OrderModel)

    async def eim_id(self) -> str:
        """Return its eimId."""
        return self._eim.credentials.eim_id

    async def add_device(self, eid: str, label: str | None, indirect: bool | None) -> None:
        """Add an eUICC, or change what is given."""
        self._eim.add_device(bytes.fromhex(eid), label=label, indirect=indirect)

    async def configuration(self, eid: str) -> bytes:
        """Return the EimConfigurationData, DER."""
        return self._eim.configuration(bytes.fromhex(eid)).encode(self._eim.version)

    async def associated(self, eid: str, token: int | None) -> None:
        """Tell what AddInitialEim answered."""
        raw = bytes.fromhex(eid)
        device = self._eim.device(raw)
        if not device.associated or device.token != token:
            self._eim.associated(raw, token)

    async def device(self, eid: str) -> Document | None:
        """Return an eUICC with what is believed of it."""
        found = self._eim.store.find_device(bytes.fromhex(eid))
        return None if found is None else rest_views.device(found, with_view=True)

    async def orders(self, eid: str) -> list[Document]:
        """Return the orders of an eUICC."""
        return [rest_views.order(one) for one in self._eim.orders(bytes.fromhex(eid))]

    async def order(self, eid: str, wanted: Document) -> Document:
        """Order something. Raises ConfigError, CodecError."""
        try:
            order = self._adapter.validate_python(wanted).order(self._eim.version)
        except ValidationError as exc:
            raise ConfigError(f"not an order: {exc.errors()[0]['msg'].removeprefix('Value error, ')}") from exc
        order.encode(self._eim.version)
        return rest_views.order(self._eim.order(bytes.fromhex(eid), order), whole=True)

    async def find(self, number: int) -> Document:
        """Return an order with its results."""
        return rest_views.order(self._eim.find_order(number), whole=True)


async def associate(slot: Slot, way: EimWay, indirect: bool | None = None) -> Document:
    """Make an eIM known to the eUICC (AddInitialEim), and the eUICC to the eIM; return what came of it.

    Raises ConfigError when another eIM of this name is associated; AgentError, DeviceError.
    """
    eid = await slot.lpa.eid()
    name = await way.eim_id()
    await way.add_device(eid, slot.name, indirect)
    known = {one.eim_id: one for one in await slot.ipa.eims()}
    told = await way.configuration(eid)
    mine = EimConfigurationData.parse(told)
    if name in known and known[name].fqdn != mine.fqdn:
        where = f"{known[name].fqdn} (token {known[name].association_token})"
        hint = "take it off the eUICC (memory reset, or an order of that eIM), or use --eim"
        raise ConfigError(f"another eIM named {name} is associated", expected=mine.fqdn, found=where, hint=hint)
    if name in known:
        await way.associated(eid, known[name].association_token)
        state, value = "already associated", known[name].association_token
    else:
        (value,) = await slot.ipa.add_initial_eim([told])
        await way.associated(eid, value)
        state = "associated"
    return {
        "slot": slot.name,
        "eid": eid,
        "state": state,
        "eims": [{"eim_id": name, "association_token": value}],
    }


async def executed(slot: Slot, way: EimWay, made: Document) -> tuple[Document, BenchError | None]:
    """Have the IPA poll until an order has ended; return it, and what kept it from that: then it stays queued."""
    name = await way.eim_id()
    for _ in range(POLLS):
        report = await slot.ipa.poll(name)
        made = await way.find(made["id"])
        if made["state"] not in ("queued", "sent"):
            break
        for error in report.errors.values():
            return made, error
    return made, None
