"""A slot that an eIM steers (SGP.32): associated once, then ordered about; what scenarios of the IoT standard share.

Each piece can be started on a device in any state: it reads, then does what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from esim_bench.agents.ipa import Ipa, PollReport
from esim_bench.codec import es10, es10_iot, es10_iot_answers, euicc_package
from esim_bench.codec.euicc_operations import Enable, ListProfileInfo, Operation, UnknownOperation
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CardStatusError, ConfigError
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import EIM_ADDRESS
from esim_bench.scenario import common
from esim_bench.scenario.context import Bench
from esim_bench.scenario.forging import Forger
from esim_bench.scenario.results import CheckFailed, Skip
from esim_bench.servers.eim import DownloadOrder, Eim, EimOrder, Order, OrderState, PackageOrder

Mode = Literal["direct", "indirect"]

POLLS: Final = 12
"""Polls after which an order must have ended; the eIM may ask for certificates and the like before it."""


class IotSource(ProfileSource):
    """The profile to download, and its way."""

    mode: Mode = Field(
        "direct", description="direct: the IPA speaks to the SM-DP+; indirect: the eIM relays between them"
    )


@dataclass(slots=True)
class Steered:
    """A slot and the eIM that steers it."""

    bench: Bench
    eim: Eim
    eid: bytes
    version: Version
    """Of the eUICC."""

    @property
    def ipa(self) -> Ipa:
        """Return the IPA of the device."""
        return self.bench.slot.ipa

    async def poll(self, *, lenient: bool = False) -> PollReport:
        """Have the IPA ask its eIMs for work. Raises the first thing that went wrong, unless ``lenient``."""
        report = await self.ipa.poll()
        if not lenient:
            for error in report.errors.values():
                raise error
        return report

    async def order(self, order: Order, *, lenient: bool = False) -> EimOrder:
        """Order something, and have the IPA ask for work until it has ended. Raises CheckFailed when it does not end.

        ``lenient``: what goes wrong on the way (no network, say) is part of the scenario.
        """
        number = self.eim.order(self.eid, order).id
        for _ in range(POLLS):
            await self.poll(lenient=lenient)
            found = self.eim.find_order(number)
            if not found.state.open:
                return found
        raise CheckFailed(f"order {number} after {POLLS} polls", expected="an end", found=found.state.value)

    async def done(self, order: Order) -> EimOrder:
        """Order something that must succeed."""
        found = await self.order(order)
        if found.state is not OrderState.DONE:
            raise CheckFailed(f"{found.kind} order", expected="done", found=f"{found.state.value}: {found.outcome}")
        return found

    async def package(self, *operations: Operation) -> Sequence[OperationResult]:
        """Have the eUICC execute operations that must all succeed; return their results."""
        return (await self.done(PackageOrder(operations))).results

    async def refused(self, *operations: Operation, outcome: str) -> None:
        """Have the eUICC refuse a package: ``outcome`` is what the order must end with."""
        found = await self.order(PackageOrder(operations))
        self.bench.check("what the eIM was told", expected=outcome, found=found.outcome)

    async def enable(self, iccid: bytes, *, rollback: bool = False) -> None:
        """Enable a profile by the eIM, and check that the card came up with it."""
        await self.package(Enable(iccid, rollback))
        text = es10.iccid_to_text(iccid)
        self.bench.check("EF.ICCID", expected=text, found=await self.bench.slot.card.read_iccid())


async def begin(bench: Bench) -> Steered:
    """Start the slot, say who its eUICC is, and see to it that our eIM is associated. Raises Skip without SGP.32."""
    await common.start(bench)
    await common.identify(bench)
    slot = bench.slot
    async with bench.step("eIM") as step:
        version = await slot.iot()
        if version is None:
            raise Skip("the eUICC has no SGP.32: there is no iotSpecificInfo in EUICCInfo2")
        eid = bytes.fromhex(await slot.lpa.eid())
        steered = Steered(bench, slot.world.eim(EIM_ADDRESS), eid, version)
        step.detail = f"SGP.32 v{version.text}, {await associate(steered)}"
    return steered


async def associate(steered: Steered) -> str:
    """Associate our eIM where no eIM is; say what was found. Raises Skip where only others are."""
    eim, eid = steered.eim, steered.eid
    name = eim.credentials.eim_id
    known = {one.eim_id: one for one in await steered.ipa.eims()}
    eim.add_device(eid, label=steered.bench.slot.name, indirect=True)
    if name not in known:
        if known:
            raise Skip(f"the eUICC belongs to {', '.join(sorted(known))}; only these may add {name}")
        (token,) = await steered.ipa.add_initial_eim([eim.configuration(eid).encode(eim.version)])
        eim.associated(eid, token)
        return f"associated with {name}"
    if not eim.device(eid).associated:
        # Associated by an earlier process: the token is on the card, the counter is found out by the eIM.
        eim.associated(eid, known[name].association_token)
    return f"associated with {name} already"


async def download(steered: Steered, source: IotSource, name: str = "download") -> tuple[bytes, str | None]:
    """Have the eIM trigger a download unless the profile is there; return its ICCID, and its IMSI where it is known."""
    bench, lpa = steered.bench, steered.bench.slot.lpa
    order = await bench.order(source)
    async with bench.step(name) as step:
        before = {one.iccid for one in await lpa.profiles()}
        if order.iccid is not None and order.iccid in before:
            step.detail = f"{es10.iccid_to_text(order.iccid)} is already installed"
            return order.iccid, order.imsi
        iccid = await trigger(steered, str(order.activation_code), source.mode)
        if order.iccid is not None:
            bench.check(
                "ICCID of the new profile", expected=es10.iccid_to_text(order.iccid), found=es10.iccid_to_text(iccid)
            )
        step.detail = f"{es10.iccid_to_text(iccid)} ({order.name}), {source.mode}"
    return iccid, order.imsi


async def trigger(steered: Steered, code: str, mode: Mode, *, held: bool = False) -> bytes:
    """Have the eIM trigger a download that must succeed; return the ICCID of the profile that it added.

    ``held``: the eIM keeps the activation code, and the trigger is empty (eimDownloadDataHandling).
    """
    bench, lpa, slot = steered.bench, steered.bench.slot.lpa, steered.bench.slot
    before = {one.iccid for one in await lpa.profiles()}
    slot.use_downloads(direct=mode == "direct", held=held)
    steered.eim.add_device(steered.eid, indirect=mode == "indirect")
    await steered.done(DownloadOrder(code, held=held))
    added = [one.iccid for one in await lpa.profiles() if one.iccid is not None and one.iccid not in before]
    bench.check("profiles added by the download", expected=1, found=len(added))
    slot.card.guard.allow_deletion(added[0])
    return added[0]


def profile_of(source: IotSource, name: str) -> IotSource:
    """Return a source of another profile of profiles/, downloaded in the same way."""
    return source.model_copy(update={"profile": name, "package": None, "activation_code": None})


async def package_results(slot: Slot) -> tuple[bytes, ...]:
    """Return the results of packages (BF51) that the eUICC still keeps."""
    answer = await slot.card.es10(es10_iot.retrieve_notifications(package_results=True))
    return es10_iot_answers.retrieved(answer).package_results


async def home_profile(steered: Steered, *others: bytes) -> bytes:
    """Return the profile that a scenario starts from and comes back to: the enabled one, unless it is of ``others``.

    Raises Skip where there is no other one.
    """
    bench = steered.bench
    async with bench.step("home profile") as step:
        profiles = [one for one in await bench.slot.lpa.profiles() if one.iccid is not None]
        wanted = [one for one in profiles if one.iccid not in others]
        if not wanted:
            raise Skip("there is no other profile to come back to: give the slot a bootstrap profile")
        chosen = next((one for one in wanted if one.enabled), wanted[0])
        assert chosen.iccid is not None
        if not chosen.enabled:
            await steered.enable(chosen.iccid)
        # What was enabled before this scenario, the eIM may not have been told.
        await steered.package(ListProfileInfo())
        step.detail = es10.iccid_to_text(chosen.iccid)
    return chosen.iccid


async def agree(steered: Steered, name: str = "agreement") -> None:
    """Check that the eIM ends with the same knowledge as the card, and that nothing is left to deliver."""
    bench, slot, eim = steered.bench, steered.bench.slot, steered.eim
    async with bench.step(name) as step:
        await steered.package(ListProfileInfo())
        await steered.poll()
        card = {
            es10.iccid_to_text(one.iccid): "enabled" if one.enabled else "disabled"
            for one in await slot.lpa.profiles()
            if one.iccid is not None
        }
        view = eim.view(steered.eid)
        believed = {es10.iccid_to_text(one.iccid): one.state for one in view.profiles}
        bench.check("profiles as the eIM believes them", expected=card, found=believed)
        bench.check("enabled profiles", expected=1, found=list(card.values()).count("enabled"))
        open_orders = [order.id for order in eim.orders(steered.eid) if order.state.open]
        bench.check("open orders", expected=[], found=open_orders)
        bench.check("package results left on the card", expected=0, found=len(await package_results(bench.slot)))
        bench.check("notifications left on the card", expected=0, found=len(await slot.lpa.notifications()))
        step.detail = f"{len(card)} profiles, all orders ended, nothing left to deliver"


async def no_such_operation(steered: Steered, operation: Operation) -> None:
    """Check that an eUICC takes a PSMO of a later version for one that there is not."""
    if steered.version >= Version.V1_2:
        # The eUICC has it, the eIM's version has not: it is not sent at all.
        try:
            steered.eim.order(steered.eid, PackageOrder((operation,)))
        except ConfigError:
            return
        raise CheckFailed("order of a later version", expected="a refusal by the eIM", found="an order")
    await unknown(steered, UnknownOperation(operation.encode(Version.V1_2)))


async def unknown(steered: Steered, operation: UnknownOperation) -> None:
    """Have the eUICC execute a package with an operation that it does not know, and take its result off again.

    No eIM orders such a thing, so it is made here, with the eIM's key and its next counterValue.
    """
    bench, eim, eid = steered.bench, steered.eim, steered.eid
    device = eim.device(eid)
    package = Forger(eim, eid, bench.slot.world.randomness(f"{bench.slot.name}:unknown")).package(
        (operation,), psmo=True
    )
    result = euicc_package.parse_result(await bench.slot.card.es10(package))
    if not isinstance(result, SignedResult):
        raise CheckFailed("answer to an unknown operation", expected="a signed result", found=type(result).__name__)
    names = [f"{one.function}: {one.name}" for one in result.results]
    bench.check("results", expected=["processingTerminated: unknownOrDamagedCommand"], found=names)
    await bench.slot.lpa.remove_notification(result.seq)
    # The counterValue is used up, as the eIM is to know.
    eim.associated(eid, device.token, device.counter)


async def no_such_function(steered: Steered, request: bytes) -> None:
    """Check that an eUICC does not know an ES10b function."""
    try:
        answer = await steered.bench.slot.card.es10(request)
    except CardStatusError as exc:
        steered.bench.check("status word", expected="6A88", found=f"{exc.sw:04X}")
        return
    raise CheckFailed("a function of a later version", expected="6A88", found=answer[:16].hex())


def already_there(steered: Steered) -> str:
    """Return how addEim refuses an eIM that is associated: v1.0 has no code of its own for it."""
    return "associatedEimAlreadyExists" if steered.version >= Version.V1_2 else "commandError"


@contextmanager
def without_network(slot: Slot, iccid: bytes) -> Iterator[None]:
    """Let the network fail a profile meanwhile.

    The bench is the slot's bearer: with this profile nothing leaves the device, whatever its modem registers to.
    """
    text = es10.iccid_to_text(iccid)
    slot.mark(f"the network fails {text}")
    slot.radio.outage(text)
    try:
        yield
    finally:
        slot.radio.restore(text)
        slot.mark(f"the network serves {text} again")
