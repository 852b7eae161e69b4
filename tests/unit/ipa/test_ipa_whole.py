"""Simulated IoT eUICC, IPA, the bench's eIM and SM-DP+, all real: what the one signs the other verifies."""

from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.agents.ipa import Ipa, IpaSettings
from esim_bench.codec import es10
from esim_bench.codec.euicc_operations import Delete, Enable, ListProfileInfo
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
        assert slot.flash.get("ipa/journal") is None
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
