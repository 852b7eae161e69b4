"""Simulated IoT eUICC, IPA, the bench's eIM and SM-DP+, all real: what the one signs the other verifies."""

from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.agents.ipa import Ipa, IpaSettings
from esim_bench.codec import es10, tlv
from esim_bench.codec.euicc_operations import Delete, Enable, ListProfileInfo, SetFallbackAttribute
from esim_bench.codec.saip import ProfilePackage
from esim_bench.codec.sgp32 import Version
from esim_bench.events import NullSink
from esim_bench.rack.model import Rack as LoadedRack
from esim_bench.rack.model import RackFile
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import SMDP_ADDRESS, World, factory_profile
from esim_bench.servers.eim import DataOrder, DownloadOrder, PackageOrder

CODE = f"LPA:1${SMDP_ADDRESS}$WHOLE"
NEW = ProfilePackage.parse(factory_profile("operational-a").upp).iccid
COMPACT = ("indirectRsp", "eimDownloadDataHandling", "minimizeEsipaBytes")


def simulated(rsp):
    slot = {"name": "A1", "form_factor": "4FF", "sim": {"profile": "bootstrap-global", "rsp": rsp}}
    model = RackFile.model_validate({"rack": {"name": "one"}, "slot": [slot]})
    world = World(LoadedRack(Path("rack.toml"), model), "1")
    built = factory_profile("operational-a")
    world.smdp.release(built.upp, built.metadata, "WHOLE")
    return world


async def associated(world, features, binding="asn1"):
    slot = open_slot(world.rack.slots[0], world, NullSink())
    await slot.start()
    settings = IpaSettings(
        version=Version.from_text(slot.spec.iot_version), binding=binding, features=features, user_agent=""
    )
    ipa = Ipa(
        slot.lpa,
        bearer_for=slot._bearer,
        settings=settings,
        state=slot.flash,
        recover=slot.recover,
        connected=slot.connected,
    )
    eim, eid = world.eim(), bytes.fromhex(await slot.lpa.eid())
    eim.add_device(eid)
    (token,) = await ipa.add_initial_eim([eim.configuration(eid)])
    eim.associated(eid, token)
    return slot, ipa, eim, eid


def download(features):
    held = "eimDownloadDataHandling" in features
    return DownloadOrder(CODE, held=held) if held else DownloadOrder(CODE)


@pytest.mark.parametrize(
    ("rsp", "features", "binding"),
    [
        (["sgp32-1.2"], ("directRsp",), "asn1"),
        (["sgp32-1.2"], ("indirectRsp",), "json"),
        (["sgp22", "sgp32-1.2"], ("indirectRsp", "eimDownloadDataHandling"), "asn1"),
        (["sgp32-1.2"], COMPACT, "asn1"),
        (["sgp32-1.2"], (*COMPACT, "eimCtxParams1Generation", "eimProfileMetadataVerification"), "asn1"),
        (["sgp32-1.0.1"], ("directRsp",), "asn1"),
        (["sgp22", "sgp32-1.0.1"], ("indirectRsp",), "json"),
    ],
)
def test_download_enable_and_delete(rsp, features, binding):
    world = simulated(rsp)

    async def job():
        slot, ipa, eim, eid = await associated(world, features, binding)
        first = (await slot.lpa.profiles())[0].iccid
        tags = (0xBF20, 0xBF22, 0xA5, 0xA6, 0xA8, 0xA9)
        orders = [eim.order(eid, DataOrder(tags))]
        orders += [eim.order(eid, download(features))]
        orders += [eim.order(eid, PackageOrder((Enable(NEW),)))]
        orders += [eim.order(eid, PackageOrder((Delete(first), ListProfileInfo())))]
        report = await ipa.poll()
        assert report.ok, report.errors
        outcomes = [eim.find_order(order.id).outcome for order in orders]
        assert outcomes == ["ok"] * 4, (outcomes, report.done)
        assert await slot.card.read_iccid() == es10.iccid_to_text(NEW)
        assert [profile.iccid for profile in await slot.lpa.profiles()] == [NEW]
        # Nothing waits any more, on the card or in the flash.
        assert not await slot.lpa.notifications()
        assert not await ipa._context.card.package_results()
        assert not slot.flash.values
        again = await ipa.poll()
        assert (again.ok, again.done) == (True, [])
        await slot.close()

    clock.run_virtual(job())


@pytest.mark.parametrize("rsp", [["sgp32-1.2"], ["sgp32-1.0.1"]])
def test_a_profile_without_network_is_rolled_back(rsp):
    world = simulated(rsp)

    async def job():
        slot, ipa, eim, eid = await associated(world, ("directRsp",))
        old = await slot.card.read_iccid()
        eim.order(eid, DownloadOrder(CODE))
        assert (await ipa.poll()).ok
        slot.radio.outage(es10.iccid_to_text(NEW))
        order = eim.order(eid, PackageOrder((Enable(NEW, rollback=True),)))
        report = await ipa.poll()
        assert report.ok, report.errors
        assert await slot.card.read_iccid() == old
        found = eim.find_order(order.id)
        assert "rollback" in found.outcome
        assert not await ipa._context.card.package_results()
        await slot.close()

    clock.run_virtual(job())


class Cut(BaseException):
    """The device's power is gone."""


class Fuse:
    """Blows before the step of a number: a request to the card, a message, a write, and each answer to one of them."""

    def __init__(self, slot):
        self.steps = 0
        self.blows_at = None
        self._es10, self._put, self._bearer = slot.card.es10, slot.flash.put, slot._bearer
        slot.card.es10 = self.es10
        slot.flash.put = self.put
        slot._bearer = lambda key: self
        self.slot = slot

    def step(self):
        self.steps += 1
        if self.steps - 1 == self.blows_at:
            raise Cut

    async def es10(self, request):
        self.step()
        answer = await self._es10(request)
        self.step()
        return answer

    def put(self, key, value):
        self.step()
        self._put(key, value)
        self.step()

    async def post(self, url, headers, body, timeout=None):
        self.step()
        answer = await self._bearer(None).post(url, headers, body, timeout)
        self.step()
        return answer


@pytest.mark.parametrize("features", [("directRsp",), COMPACT])
def test_power_cuts_of_the_device_lose_and_repeat_nothing(features):
    async def story(blows_at):
        """Return the steps that it took."""
        world = simulated(["sgp32-1.2"])
        slot, ipa, eim, eid = await associated(world, features)
        fuse = Fuse(slot)
        orders = [eim.order(eid, download(features)), eim.order(eid, PackageOrder((Enable(NEW, rollback=True),)))]
        orders.append(eim.order(eid, PackageOrder((ListProfileInfo(),))))
        fuse.blows_at = blows_at
        settings = ipa.settings

        def started():
            return Ipa(
                slot.lpa,
                bearer_for=slot._bearer,
                settings=settings,
                state=slot.flash,
                recover=slot.recover,
                connected=slot.connected,
            )

        try:
            await started().poll()
        except Cut:
            await slot.power_cycle()
            fuse.blows_at = None
            report = await started().poll()
            assert report.ok, (blows_at, report.errors)
        steps = fuse.steps
        assert (await started().poll()).done == [], blows_at
        outcomes = [eim.find_order(order.id).outcome for order in orders]
        # An installation that the cut reaches in the eUICC has failed, and its result says so: the one honest outcome.
        interrupted = ["installFailedDueToInterruption in loadProfileElements", "enable: iccidOrAidNotFound", "ok"]
        installed = outcomes != interrupted
        assert outcomes in (["ok"] * 3, interrupted), (blows_at, outcomes)
        assert (await slot.card.read_iccid() == es10.iccid_to_text(NEW)) == installed
        assert len(await slot.lpa.profiles()) == 1 + installed
        assert not slot.flash.values
        assert not await slot.lpa.notifications()
        assert (eim.view(eid).enabled_iccid == NEW) == installed
        await slot.close()
        return steps

    steps = clock.run_virtual(story(None))
    assert steps > 60
    for number in range(0, steps, 7):
        clock.run_virtual(story(number))


def test_immediate_enable_as_configured_before_the_association():
    world = simulated(["sgp32-1.2"])

    async def job():
        slot = open_slot(world.rack.slots[0], world, NullSink())
        await slot.start()
        ipa = Ipa(
            slot.lpa,
            bearer_for=slot._bearer,
            settings=IpaSettings(features=("directRsp",), immediate_enable=True),
            state=slot.flash,
            recover=slot.recover,
            connected=slot.connected,
        )
        assert await ipa.configure_immediate_enable(True, smdp_address=SMDP_ADDRESS) == "ok"
        eim, eid = world.eim(), bytes.fromhex(await slot.lpa.eid())
        eim.add_device(eid)
        (token,) = await ipa.add_initial_eim(eim.configuration(eid).encode())
        eim.associated(eid, token)
        eim.order(eid, DownloadOrder(CODE))
        report = await ipa.poll()
        assert report.ok, report.errors
        assert "immediateEnable" in report.kinds(), report.done
        assert await slot.card.read_iccid() == es10.iccid_to_text(NEW), report.done
        assert eim.view(eid).state_change_cause == 5
        await slot.close()

    clock.run_virtual(job())


def test_fallback_return_and_emergency():
    """A profile that may be fallback and another one for emergency calls; the bootstrap profile's network fails."""
    world = simulated(["sgp32-1.2"])
    built = {name: factory_profile(name) for name in ("operational-b", "operational-a")}
    marks = {"operational-b": "9F6701FF", "operational-a": "9F7B01FF"}
    for name, one in built.items():
        metadata = tlv.encode(0xBF25, tlv.parse(one.metadata).value, bytes.fromhex(marks[name]))
        world.smdp.release(one.upp, metadata, name.upper())
    fallback, emergency = (es10.iccid_to_text(ProfilePackage.parse(one.upp).iccid) for one in built.values())

    async def job():
        slot, ipa, eim, eid = await associated(world, ("directRsp",))
        first = await slot.card.read_iccid()
        for name in built:
            eim.order(eid, DownloadOrder(f"LPA:1${SMDP_ADDRESS}${name.upper()}"))
        eim.order(eid, PackageOrder((SetFallbackAttribute(es10.iccid_to_bytes(fallback)),)))
        assert (await ipa.poll()).ok
        assert {order.outcome for order in eim.orders(eid)} == {"ok"}

        slot.radio.outage(first)
        order = eim.order(eid, PackageOrder((ListProfileInfo(),)))
        report = await ipa.poll()
        assert report.ok, report.errors
        assert report.kinds()[0] == "fallback"
        assert (await slot.card.read_iccid(), eim.find_order(order.id).outcome) == (fallback, "ok")
        assert eim.view(eid).state_change_cause == 1

        slot.radio.restore(first)
        assert await ipa.connectivity_returned() == "ok"
        assert await slot.card.read_iccid() == first

        assert await ipa.emergency(True) == "ok"
        assert await slot.card.read_iccid() == emergency
        order = eim.order(eid, PackageOrder((ListProfileInfo(),)))
        data = eim.order(eid, DataOrder((0xBF20,)))
        report = await ipa.poll()
        assert eim.find_order(order.id).outcome == eim.find_order(data.id).outcome == "ecallActive"
        assert eim.view(eid).state_change_cause == 2
        assert await ipa.connectivity_lost() == "ecallActive"
        assert await ipa.emergency(False) == "ok"
        assert await slot.card.read_iccid() == first
        assert (await ipa.poll()).ok
        assert not slot.flash.values
        await slot.close()

    clock.run_virtual(job())
