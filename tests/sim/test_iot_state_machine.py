"""eIM, IPA and eUICC under random orders, losses, duplications, delays, outages, forgeries and cuts of the power.

Whatever comes: at most one profile is enabled; nothing is executed that the eIM did not sign, and no package twice;
counters never go back; and when the way is free again, each order has ended exactly once and the eIM knows what the
card shows.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from esim_bench import clock
from esim_bench.codec import es10
from esim_bench.codec.esipa_objects import PackageResult
from esim_bench.codec.euicc_operations import (
    ConfigureImmediateEnable,
    Delete,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
)
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CardStatusError, DeviceError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import Bearer, HttpResponse
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import EIM_ADDRESS, World
from esim_bench.scenario import steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.forging import Forger
from esim_bench.servers.eim import DataOrder, DownloadOrder, EimOrder, OrderState, PackageOrder, SqliteEimStore
from esim_drivers.sim.iot.packages import PackageProcessor
from esim_drivers.sim.nvm import Nvm

RACK = """
[rack]
name = "machine"
[[slot]]
name = "S1"
form_factor = "4FF"
sim = { personality = "standard", profile = "bootstrap-global", rsp = ["sgp32-1.2"] }
"""
INSTALLED = ("operational-a", "fallback-global")
ALL = ("bootstrap-global", *INSTALLED)
POLLS = 40


class BadWay:
    """A bearer on which the next requests meet what ``faults`` says, one each; "" is nothing."""

    def __init__(self, bearer: Bearer, faults: list[str]) -> None:
        self._bearer = bearer
        self._faults = faults

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        fault = self._faults.pop(0) if self._faults else ""
        if fault == "lose request":
            raise TransportError("the request got lost")
        answer = await self._bearer.post(url, headers, body, timeout)
        if fault == "twice":
            answer = await self._bearer.post(url, headers, body, timeout)
        if fault == "lose answer":
            raise TransportError("the answer got lost")
        return answer

    async def hang_up(self) -> None:
        await self._bearer.hang_up()


FAULTS = st.lists(st.sampled_from(("", "", "lose request", "lose answer", "twice")), max_size=6)


@cache
def start() -> tuple[bytes, dict[str, bytes], int | None]:
    """Return a card's memory with three profiles and our eIM, the profiles' ICCIDs, and the eIM's token."""
    runner = asyncio.Runner(loop_factory=clock.VirtualLoop)

    async def job() -> tuple[bytes, dict[str, bytes], int | None]:
        world = world_of()
        slot = open_slot(world.rack.one("S1"), world, NullSink())
        steered = await steering.begin(Bench(slot))
        iccids = {}
        for name in INSTALLED:
            source = steering.IotSource.model_validate({"profile": name})
            iccids[name], _ = await steering.download(steered, source)
        iccids["bootstrap-global"] = await steering.home_profile(steered, *iccids.values())
        await steered.poll()
        token = steered.eim.device(steered.eid).token
        snapshot = slot.hardware.extras["sim"].nvm.snapshot()
        await slot.close()
        return snapshot, iccids, token

    with runner:
        return runner.run(job())


def world_of() -> World:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rack.toml"
        path.write_text(RACK)
        return World(load_rack(str(path)), "machine")


class Iot(RuleBasedStateMachine):
    """One device, its eIM, and bad luck."""

    @initialize()
    def begin(self) -> None:
        memory, self.iccids, token = start()
        self.runner = asyncio.Runner(loop_factory=clock.VirtualLoop)
        self.world = world_of()
        self.faults: list[str] = []
        good = self.world.bearer
        self.world.bearer = lambda sink, pin=None, **_: BadWay(good(sink, pin), self.faults)  # type: ignore
        self.executed: list[tuple[int, bytes]] = []
        self.seen_counters = (0, 0)
        self.old: list[bytes] = []
        """Packages and results that were on the way once."""
        spec = self.world.rack.one("S1")
        self.slot: Slot = self.inside(lambda: open_slot(spec, self.world, NullSink(), state=memory))
        self.card = self.slot.hardware.extras["sim"]
        self.store = SqliteEimStore(":memory:")
        self.inside(self.restart_eim)
        self.run(self.slot.start)
        self.eid = bytes.fromhex(self.run(self.slot.lpa.eid))
        self.inside(lambda: self.eim.add_device(self.eid))
        self.inside(lambda: self.eim.associated(self.eid, token, 8))
        self.watch()

    def restart_eim(self) -> None:
        # The relay and the bearer of the eIM are not what goes wrong here: the device's way is.
        self.eim = self.world._eims[EIM_ADDRESS] = self.world.make_eim(EIM_ADDRESS, self.store)

    def watch(self) -> None:
        """Note every package that the eUICC accepts."""
        processor: PackageProcessor = self.card.isdr.iot.packages
        accept = processor._accept

        def noting(owner: Any) -> None:
            accept(owner)
            self.executed.append((owner.counter, owner.transaction or b""))

        processor._accept = noting  # type: ignore[method-assign]

    def inside(self, job: Callable[[], Any]) -> Any:
        """Call something where time is virtual: in the loop."""

        async def awaited() -> Any:
            return job()

        return self.runner.run(awaited())

    def run(self, job: Callable[[], Awaitable[Any]]) -> Any:
        async def awaited() -> Any:
            return await job()

        return self.runner.run(awaited())

    def poll(self) -> None:
        """Poll; what went wrong on the way is what this is about. The card may lose its power meanwhile."""

        async def job() -> None:
            try:
                if not self.slot.powered or not self.nvm.powered:
                    await self.slot.cut()
                    await self.slot.start()
                await self.slot.ipa.poll()
            except DeviceError:
                # A way or a card that broke: a device restarts its modem then.
                self.nvm.cut_before = None
                await self.slot.cut()
                await self.slot.start()

        self.run(job)
        self.nvm.cut_before = None
        if not self.nvm.powered:
            self.run(self.slot.cut)
            self.run(self.slot.start)
        self.old += [order.request for order in self.eim.orders(self.eid) if order.request][-3:]
        self.old += [order.raw for order in self.eim.orders(self.eid) if order.raw][-3:]

    @property
    def nvm(self) -> Nvm:
        found: Nvm = self.card.nvm
        return found

    # ------------------------------------------------------------------------------------------------------- orders

    @rule(
        kinds=st.lists(
            st.sampled_from(("enable", "rollback", "delete", "list", "rat", "address")), min_size=1, max_size=3
        ),
        names=st.lists(st.sampled_from(ALL), min_size=3, max_size=3),
    )
    def order_package(self, kinds: list[str], names: list[str]) -> None:
        made = {
            "enable": lambda iccid: Enable(iccid),
            "rollback": lambda iccid: Enable(iccid, rollback=True),
            "delete": lambda iccid: Delete(iccid),
            "list": lambda iccid: ListProfileInfo(),
            "rat": lambda iccid: GetRat(),
            "address": lambda iccid: SetDefaultDpAddress("dp.example.com"),
        }
        self.order(PackageOrder(tuple(made[kind](self.iccids[name]) for kind, name in zip(kinds, names, strict=False))))

    @rule(kind=st.sampled_from(("set", "unset", "immediate", "eims")))
    def order_other_package(self, kind: str) -> None:
        operation = {
            "set": SetFallbackAttribute(self.iccids["fallback-global"]),
            "unset": UnsetFallbackAttribute(),
            "immediate": ConfigureImmediateEnable(True),
            "eims": ListEim(),
        }[kind]
        self.order(PackageOrder((operation,)))

    @rule()
    def order_data(self) -> None:
        self.order(DataOrder((0xBF22, 0xA2)))

    @rule(name=st.sampled_from(INSTALLED), direct=st.booleans())
    def order_download(self, name: str, direct: bool) -> None:
        self.slot.use_downloads(direct=direct)
        prepared = self.run(lambda: self.world.order(ProfileSource.model_validate({"profile": name})))
        self.order(DownloadOrder(str(prepared.activation_code)))

    @rule()
    def order_a_new_key(self) -> None:
        source = SeededRandomness(f"key {len(self.eim.orders(self.eid))}")
        self.inside(lambda: self.eim.rotate(self.eid, generate(Curve.P256, source)))

    def order(self, order: Any) -> None:
        if self.store.count_orders(self.eid, OrderState.QUEUED) < 20:
            self.inside(lambda: self.eim.order(self.eid, order))

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        waiting = [order for order in self.eim.orders(self.eid) if order.state is OrderState.QUEUED]
        if waiting:
            self.inside(lambda: self.eim.cancel(waiting[which % len(waiting)].id))

    # -------------------------------------------------------------------------------------------------- what happens

    @rule(faults=FAULTS)
    def poll_on_a_bad_way(self, faults: list[str]) -> None:
        self.faults[:] = faults
        self.poll()
        self.faults.clear()

    @rule(faults=FAULTS, write=st.integers(0, 40))
    def poll_and_lose_the_power(self, faults: list[str], write: int) -> None:
        self.faults[:] = faults
        self.nvm.cut_before = self.nvm.writes + write
        self.poll()
        self.faults.clear()

    @rule()
    def lose_the_power_in_between(self) -> None:
        self.run(self.slot.power_cycle)

    @rule(name=st.sampled_from(("operational-a", "bootstrap-global")))
    def outage(self, name: str) -> None:
        self.slot.radio.outage(es10.iccid_to_text(self.iccids[name]))
        self.poll()
        for profile in ALL:
            self.slot.radio.restore(es10.iccid_to_text(self.iccids[profile]))

    @rule()
    def the_network_returns(self) -> None:
        self.run(self.slot.ipa.connectivity_returned)

    @rule()
    def the_eim_restarts(self) -> None:
        self.inside(self.restart_eim)

    # ----------------------------------------------------------------------------------------------------- attackers

    @rule(name=st.sampled_from(ALL), ahead=st.integers(-3, 50))
    def forge(self, name: str, ahead: int) -> None:
        forger = Forger(self.eim, self.eid, SeededRandomness("forger"))
        counter = max(0, self.eim.device(self.eid).counter + ahead)
        self.send(forger.package((Enable(self.iccids[name]),), counter=counter, key=forger.stranger()))

    @precondition(lambda self: self.old)
    @rule(which=st.integers(0, 100))
    def repeat_something_old(self, which: int) -> None:
        """Send a package or a result again, long after it was on its way; at worst before the eIM's own copy."""
        raw = self.old[which % len(self.old)]
        if not raw.startswith(b"\xbf\x51"):
            return
        if raw.startswith((b"\xbf\x51\x81", b"\xbf\x51\x82")) and b"\x5a\x10" in raw[:40]:
            self.send(raw)
        else:
            fields = {"eidValue": self.eid, "eimPackageResult": PackageResult(raw).encode()}
            self.run(lambda: self.eim.handle("provideEimPackageResult", fields))

    def send(self, package: bytes) -> None:
        async def job() -> None:
            with contextlib.suppress(CardStatusError):
                await self.slot.card.es10(package)

        self.run(job)

    # ---------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def at_most_one_profile_is_enabled(self) -> None:
        if hasattr(self, "card") and self.nvm.powered:
            assert self.card.isdr.registry.violations() == []
            assert self.card.isdr.iot.violations() == []

    @invariant()
    def only_what_the_eim_signed_is_executed_and_once(self) -> None:
        if hasattr(self, "eid"):
            signed = {(order.counter, order.transaction_id) for order in self.eim.orders(self.eid) if order.request}
            assert len(set(self.executed)) == len(self.executed), "a package was executed twice"
            assert set(self.executed) <= signed
            counters = [counter for counter, _ in self.executed]
            assert counters == sorted(counters)

    @invariant()
    def nothing_counts_backwards(self) -> None:
        if hasattr(self, "eid"):
            key = next(key for key in self.nvm.keys("iot/eim/") if key.endswith("/counter"))
            now = tuple(int.from_bytes(self.nvm.get(name) or b"", "big") for name in (key, "euicc/sequence"))
            assert now >= self.seen_counters
            assert now[1] >= self.seen_counters[1]
            self.seen_counters = now  # type: ignore[assignment]

    def teardown(self) -> None:
        if not hasattr(self, "eid"):
            return
        try:
            self.converges()
        finally:
            self.run(self.slot.close)
            self.runner.close()

    def converges(self) -> None:
        for _ in range(POLLS):
            self.poll()
            if not any(order.state.open for order in self.eim.orders(self.eid)):
                break
        self.order(PackageOrder((ListProfileInfo(),)))
        for _ in range(4):
            self.poll()
        orders = self.eim.orders(self.eid)
        assert [order.id for order in orders if order.state.open] == [], [describe(order) for order in orders]
        card = {bytes(one.iccid or b""): one.enabled for one in self.run(self.slot.lpa.profiles)}
        believed = {one.iccid: one.state == "enabled" for one in self.eim.view(self.eid).profiles}
        assert believed == card
        told = [record.order_id for record in self.store.results(self.eid) if record.order_id is not None]
        twice = {number for number in told if told.count(number) > 1}
        # A rollback's result replaces the first one; nothing else is told twice.
        assert all("rollback" in self.eim.find_order(number).outcome for number in twice)
        assert self.run(lambda: steering.package_results(self.slot)) == ()


def describe(order: EimOrder) -> str:
    return f"{order.id} {order.kind} {order.state.value} {order.outcome}"


TestIot = Iot.TestCase
TestIot.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
