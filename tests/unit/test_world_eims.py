"""The eIMs of the bench's process: made when they are asked for, reached by name, kept in files if wanted."""

import asyncio
from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.card.card import TERMINAL_CAPABILITY
from esim_bench.codec.euicc_operations import ListEim
from esim_bench.codec.iot_info import claims_ipad
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import Curve, curve_of, point
from esim_bench.errors import ConfigError, RigError
from esim_bench.events import ApduEvent, ListSink, NullSink, RspEvent
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import EIM_ADDRESS, SECOND_EIM_ADDRESS, World
from esim_bench.servers.eim import PackageOrder

EID = bytes.fromhex("89049032123451234512345678901235")
DUAL = """\
{head}
[rack]
name = "x"
[[slot]]
name = "A1"
form_factor = "4FF"
sim = {{ personality = "4ff", profile = "bootstrap-global", rsp = {rsp} }}
"""


def world_of(folder: Path, rsp: str = '["sgp32-1.2"]', head: str = "", seed: str = "0") -> World:
    path = folder / "rack.toml"
    path.write_text(DUAL.format(head=head, rsp=rsp))
    return World(load_rack(path), seed)


def test_two_eims_that_depend_on_the_seed_alone() -> None:
    rack = load_rack("sim-iot-3")

    async def keys(seed: str, *names: str) -> list[bytes]:
        world = World(rack, seed)
        return [point(world.eim(name).credentials.signing_key) for name in names]

    first, second = clock.run_virtual(keys("0", EIM_ADDRESS, SECOND_EIM_ADDRESS))
    assert first != second
    assert clock.run_virtual(keys("0", SECOND_EIM_ADDRESS, EIM_ADDRESS)) == [second, first]
    assert clock.run_virtual(keys("1", EIM_ADDRESS)) != [first]


def test_eims_are_reached_by_name(tmp_path: Path) -> None:
    async def statuses() -> list[int]:
        world, sink = world_of(tmp_path), ListSink()
        bearer = world.bearer(sink)
        for name in (EIM_ADDRESS, SECOND_EIM_ADDRESS):
            await bearer.post(f"https://{name}/gsma/rsp2/asn1", {}, b"")
        return [int(event.status) for event in sink.events if isinstance(event, RspEvent)]

    assert len(clock.run_virtual(statuses())) == 2


@pytest.mark.parametrize(("said", "curve"), [("", Curve.P256), ("brainpool", Curve.BRAINPOOL), ("p256", Curve.P256)])
def test_the_curve_of_the_rack_file(tmp_path: Path, said: str, curve: Curve) -> None:
    async def made() -> Curve:
        world = world_of(tmp_path, head=f'[eim]\ncurve = "{said}"' if said else "")
        return curve_of(world.eim().credentials.signing_key)

    assert clock.run_virtual(made()) is curve


def test_an_eim_goes_on_from_its_file(tmp_path: Path) -> None:
    async def begin() -> None:
        world = world_of(tmp_path)
        world.keep_eims(tmp_path / "eim")
        await asyncio.sleep(100)
        eim = world.eim()
        eim.add_device(EID, label="kept")
        eim.order(EID, PackageOrder((ListEim(),)))
        world.close()

    async def go_on() -> None:
        world = world_of(tmp_path)
        world.keep_eims(tmp_path / "eim")
        eim = world.eim()
        (order,) = eim.orders(EID)
        assert eim.device(EID).label == "kept"
        # Virtual time began anew, the eIM's did not.
        assert world.eim_now_ns() > order.created_ns
        world.close()

    clock.run_virtual(begin())
    clock.run_virtual(go_on())


def test_keeping_comes_first(tmp_path: Path) -> None:
    async def late() -> None:
        world = world_of(tmp_path)
        world.eim()
        with pytest.raises(RigError):
            world.keep_eims(tmp_path / "eim")

    clock.run_virtual(late())


def test_a_real_rack_without_eim_keys_keeps_the_one_that_it_made(tmp_path: Path) -> None:
    path = tmp_path / "real.toml"
    path.write_text('[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\ncard = { driver = "pcsc" }\n')

    async def key_of_a_process() -> bytes:
        world = World(load_rack(path), "0")
        world.keep_eims(tmp_path / "eim")
        try:
            return point(world.eim(SECOND_EIM_ADDRESS).credentials.signing_key)
        finally:
            world.close()

    assert clock.run_real(key_of_a_process()) == clock.run_real(key_of_a_process())
    (key,) = (tmp_path / "eim").glob("*.pem")
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("rsp", "ipad", "version"),
    [
        ('["sgp22"]', False, None),
        ('["sgp32-1.2"]', True, Version.V1_2),
        ('["sgp22", "sgp32-1.0.1"]', True, Version.V1_0_1),
    ],
)
def test_a_device_says_that_it_has_an_ipa(tmp_path: Path, rsp: str, ipad: bool, version: Version | None) -> None:
    async def started() -> tuple[list[bytes], Version | None, bool]:
        world, sink = world_of(tmp_path, rsp), ListSink()
        slot = open_slot(world.rack.slots[0], world, sink)
        await slot.start()
        try:
            sent = [event.command for event in sink.events if isinstance(event, ApduEvent)]
            return [one for one in sent if one[1] == 0xAA], await slot.iot(), await slot.connected()
        finally:
            await slot.close()

    (capability,), found, connected = clock.run_virtual(started())
    assert claims_ipad(capability[5:]) is ipad
    assert (capability == TERMINAL_CAPABILITY) is (rsp == '["sgp22"]')
    assert (found, connected) == (version, True)


def test_a_real_slot_is_no_simulated_one_at_rest(tmp_path: Path) -> None:
    async def at_rest() -> None:
        world = world_of(tmp_path)
        slot = open_slot(world.rack.slots[0], world, NullSink())
        slot.hardware.snapshot = None
        with pytest.raises(ConfigError, match="simulated"):
            slot.sim_state()
        await slot.close()

    clock.run_virtual(at_rest())
