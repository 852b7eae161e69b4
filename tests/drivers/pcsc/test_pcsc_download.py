"""A whole slot over the real PC/SC service: profiles downloaded, switched, and the service lost in the middle."""

import pytest

from esim_bench import clock
from esim_bench.codec import es10
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import DeviceError
from esim_bench.events import ApduEvent, ListSink
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World
from esim_bench.servers.pki import make_eid
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.personality import personality

RACK = """
[rack]
name = "readers"
[[slot]]
name = "A1"
form_factor = "4FF"
protect = false
card = { driver = "pcsc", reader = "name:esim-bench test 00 00", wait_s = 5, card_wait_s = 5 }
"""


class Watched:
    """A card that calls a function when the second block of the protected profile package comes (tag 86)."""

    def __init__(self, card):
        self.card, self.do, self.blocks = card, None, 0

    def __getattr__(self, name):
        return getattr(self.card, name)

    def transmit(self, command):
        self.blocks += command[1] == 0xE2 and command[5:6] == b"\x86"
        if self.blocks == 2 and self.do is not None:
            do, self.do = self.do, None
            do()
        return self.card.transmit(command)


@pytest.fixture
def bench(pcsc, tmp_path):
    """Return (slot, card, sink, world): a slot of a real rack whose reader has a simulated eUICC of the rack's PKI."""
    path = tmp_path / "rack.toml"
    path.write_text(RACK)
    world = World(load_rack(str(path)), "bench")
    identity = world.pki.issue_euicc(make_eid(5), SeededRandomness("euicc"))
    card = Watched(SimCard(identity, personality("4ff"), SeededRandomness("card")))
    sink = ListSink()
    return open_slot(world.rack.one("A1"), world, sink), card, sink, world


def test_a_profile_is_downloaded_enabled_and_deleted(pcsc, bench):
    slot, card, sink, world = bench
    pcsc.start(card)

    async def main():
        await slot.start()
        order = await world.order(ProfileSource(profile="operational-a"))
        result = await slot.install(order.activation_code)
        iccid = result.metadata.iccid
        await slot.lpa.enable(iccid)
        await slot.recover()
        shown = await slot.card.read_iccid()
        await slot.lpa.disable(iccid)
        await slot.recover()
        await slot.delete(iccid)
        profiles = await slot.lpa.profiles()
        await slot.close()
        return shown, es10.iccid_to_text(iccid), profiles

    shown, installed, profiles = clock.run_real(main())
    assert shown == installed
    assert profiles == []
    assert len([event for event in sink.events if isinstance(event, ApduEvent)]) > 50


def test_the_service_dies_in_the_middle_of_a_download_and_the_next_one_succeeds(pcsc, bench):
    slot, card, _, world = bench
    pcsc.start(card, pulling=True)

    async def main():
        await slot.start()
        order = await world.order(ProfileSource(profile="operational-a"))
        card.do = pcsc.pcscd.kill
        with pytest.raises(DeviceError):
            await slot.install(order.activation_code)
        assert card.blocks == 2
        pcsc.pcscd.start()
        await slot.card.start()
        assert not await slot.lpa.profiles()
        again = await world.order(ProfileSource(profile="operational-b"))
        result = await slot.install(again.activation_code)
        found = [profile.iccid for profile in await slot.lpa.profiles()]
        await slot.close()
        return result.metadata.iccid, found

    iccid, found = clock.run_real(main())
    assert found == [iccid]
