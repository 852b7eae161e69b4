"""A power cut between any two NVM writes of a package, seen from the eIM: it ends with the eUICC's own knowledge."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.codec.euicc_operations import ConfigureImmediateEnable, Delete, Enable, ListProfileInfo
from esim_bench.errors import BenchError
from esim_bench.events import NullSink
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import World
from esim_bench.scenario import steering
from esim_bench.scenario.context import Bench
from esim_bench.servers.eim import PackageOrder

RACK = """
[rack]
name = "cuts"
[[slot]]
name = "S1"
form_factor = "4FF"
sim = {{ personality = "4ff", profile = "bootstrap-global", rsp = ["{rsp}"] }}
"""
ORDERED = ["configureImmediateEnable", "enable", "delete"]
EFFECTS = [
    {"home": True, "target": False},
    {"home": True, "target": False},
    {"home": False, "target": True},
    {"target": True},
]
"""Profiles and whether they are enabled, after the first 0 to 3 operations."""


@dataclass(frozen=True)
class End:
    writes: int
    """NVM writes of the package and all that followed until its result was removed."""
    results: tuple[str, ...]
    profiles: dict[str, bool]
    believed: dict[str, bool]
    left: tuple[int, int]
    violations: tuple[str, ...]
    counters: tuple[int, int]
    """counterValue and sequence number of the eUICC, before and after the cut: whether both never went back."""


async def cut_at(folder: Path, rsp: str, cut: int | None) -> End:
    path = folder / "rack.toml"
    path.write_text(RACK.format(rsp=rsp))
    world = World(load_rack(str(path)), "cuts")
    slot = open_slot(world.rack.one("S1"), world, NullSink())
    steered = await steering.begin(Bench(slot))
    target, _ = await steering.download(steered, steering.IotSource.model_validate({}))
    home = await steering.home_profile(steered, target)
    await steered.poll()
    names = {bytes(home): "home", bytes(target): "target"}
    card = slot.hardware.extras["sim"]
    operations = (ConfigureImmediateEnable(True), Enable(target), Delete(home))
    order = steered.eim.order(steered.eid, PackageOrder(operations))
    first = card.nvm.writes
    before = _counters(card.nvm)
    card.nvm.cut_before = None if cut is None else first + cut
    try:
        broken = not (await slot.ipa.poll()).ok
    except BenchError:
        broken = True
    writes = card.nvm.writes - first
    card.nvm.cut_before = None
    after = _counters(card.nvm)
    assert broken == (cut is not None)
    if broken:
        await slot.power_cycle()
        report = await slot.ipa.poll()
        assert report.ok, report.errors
    ended = steered.eim.find_order(order.id)
    assert not ended.state.open
    assert ended.verified
    await steered.package(ListProfileInfo())
    end = End(
        writes,
        tuple(f"{one.function} {one.name}" for one in ended.results),
        {names[bytes(one.iccid or b"")]: one.enabled for one in await slot.lpa.profiles()},
        {names[one.iccid]: one.state == "enabled" for one in steered.eim.view(steered.eid).profiles},
        (len(await steering.package_results(slot)), len(await slot.lpa.notifications())),
        (*card.isdr.registry.violations(), *card.isdr.iot.violations()),
        tuple(new - old for old, new in zip(before, after, strict=True)),  # type: ignore[arg-type]
    )
    await slot.close()
    return end


def _counters(nvm: object) -> tuple[int, int]:
    get = nvm.get  # type: ignore[attr-defined]
    counter = next(key for key in nvm.keys("iot/eim/") if key.endswith("/counter"))  # type: ignore[attr-defined]
    return int.from_bytes(get(counter), "big"), int.from_bytes(get("euicc/sequence") or b"", "big")


@pytest.mark.parametrize(("rsp", "step"), [("sgp32-1.2", 1), ("sgp32-1.0.1", 3)])
def test_a_cut_leaves_the_first_operations_and_the_eim_knows_which(tmp_path: Path, rsp: str, step: int) -> None:
    whole = clock.run_virtual(cut_at(tmp_path, rsp, None))
    assert whole.results == tuple(f"{name} ok" for name in ORDERED)
    seen = set()
    for cut in range(0, whole.writes, step):
        end = clock.run_virtual(cut_at(tmp_path, rsp, cut))
        done = [name for name in ORDERED if f"{name} ok" in end.results]
        interrupted = () if len(done) == len(ORDERED) else ("processingTerminated interruption",)
        assert end.results == (*(f"{name} ok" for name in ORDERED[: len(done)]), *interrupted), f"write {cut}"
        assert end.profiles == EFFECTS[len(done)], f"write {cut}"
        assert end.believed == end.profiles, f"write {cut}"
        assert end.left == (0, 0), f"write {cut}"
        assert end.violations == (), f"write {cut}"
        assert min(end.counters) >= 0, f"write {cut}"
        seen.add(len(done))
    assert seen == {0, 1, 2, 3}
