"""eUICCs that do not do as the standard says, and the bench that gets along with them, or says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.agents.switch import disable_profile, switch_profile
from esim_bench.codec import es10
from esim_bench.errors import AgentError, CardStatusError
from esim_bench.events import ApduEvent, ListSink, MarkEvent
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World
from esim_bench.scenario import engine, registry
from esim_bench.scenario.results import Outcome

RACK = """
[rack]
name = "odd"
[[slot]]
name = "S1"
form_factor = "4FF"
sim = {{ personality = "{personality}", profile = "bootstrap-global" }}
"""


def rack_of(tmp_path: Path, personality: str, module: str = ""):
    path = tmp_path / "odd.toml"
    path.write_text(RACK.format(personality=personality) + module)
    return load_rack(path)


def run_scenario(rack, name: str, **values):
    chosen = registry.scenario(name)
    options = engine.RunOptions(seed=0, repeat=1)
    result, _ = engine.run_scenario(rack, rack.select(), chosen, chosen.parse(values), options, lambda *_: None)
    return result.slots[0]


async def two_profiles(slot: Slot, world: World) -> tuple[bytes, bytes]:
    """Start a slot, install a second profile; return the ICCIDs: the enabled one first."""
    await slot.start()
    order = await world.order(ProfileSource(profile="operational-a"))
    await slot.install(order.activation_code)
    home = next(one.iccid for one in await slot.lpa.profiles() if one.enabled)
    assert home is not None
    assert order.iccid is not None
    return home, order.iccid


def on_slot(rack, job):
    async def session():
        world, sink = World(rack, "odd"), ListSink()
        slot = open_slot(rack.one("S1"), world, sink)
        try:
            return await job(slot, world), sink.events
        finally:
            await slot.close()

    return clock.run_virtual(session())


def marks(events) -> list[str]:
    return [event.text for event in events if isinstance(event, MarkEvent)]


@pytest.mark.parametrize(
    "personality", ["no-flag", "aid-only", "false-busy", "own-isd-r", "reset-needed", "no-refresh"]
)
@pytest.mark.parametrize("scenario", ["switch", "power_cycle"])
def test_profiles_are_switched_all_the_same(tmp_path, personality, scenario):
    result = run_scenario(rack_of(tmp_path, personality), scenario)
    assert result.outcome is Outcome.PASS, [(step.name, step.detail) for step in result.steps]


@pytest.mark.parametrize(
    ("personality", "first", "works"),
    [("no-flag", True, "ICCID, without refreshFlag"), ("aid-only", True, "ISD-P AID, with refreshFlag")],
)
def test_the_order_that_an_euicc_takes_is_found_and_noted(tmp_path, personality, first, works):
    async def job(slot, world):
        _, new = await two_profiles(slot, world)
        await switch_profile(slot.lpa, new, refresh=first, recover=slot.recover)
        await disable_profile(slot.lpa, new, refresh=first, recover=slot.recover)

    _, events = on_slot(rack_of(tmp_path, personality), job)
    assert f"undefinedError: once more by {works}" in marks(events)


def test_a_busy_answer_to_a_switch_that_took_place_is_no_second_switch(tmp_path):
    async def job(slot, world):
        _, new = await two_profiles(slot, world)
        with pytest.raises(AgentError) as caught:
            await slot.lpa.enable(new)
        assert caught.value.code == "catBusy"
        await slot.recover()
        await switch_profile(slot.lpa, new, refresh=True, recover=slot.recover)

    _, events = on_slot(rack_of(tmp_path, "false-busy"), job)
    orders = [event for event in events if isinstance(event, ApduEvent) and event.command[5:7] == b"\xbf\x31"]
    assert len(orders) == 2


def test_a_refused_list_of_notifications_is_read_from_the_notifications_themselves(tmp_path):
    async def job(slot, world):
        _, new = await two_profiles(slot, world)
        await slot.lpa.deliver_notifications()
        await slot.lpa.enable(new, refresh=False)
        with pytest.raises(CardStatusError):
            await slot.card.es10(es10.list_notifications())
        return [one.operation for one in await slot.lpa.notifications()]

    found, _ = on_slot(rack_of(tmp_path, "no-flag"), job)
    assert found == ["disable", "enable"]


def test_a_memory_reset_that_only_says_ok_is_found_out(tmp_path):
    async def job(slot, world):
        await two_profiles(slot, world)
        with pytest.raises(AgentError) as caught:
            await slot.memory_reset(operational=True)
        return caught.value.code

    assert on_slot(rack_of(tmp_path, "false-busy"), job)[0] == "memoryNotReset"


def test_an_euicc_that_takes_a_switch_back_fails_the_power_cycle(tmp_path):
    result = run_scenario(rack_of(tmp_path, "reverting"), "power_cycle")
    assert result.outcome is Outcome.FAIL
    assert result.steps[-1].detail.startswith("iccid after the power cycle: expected 89882110")


def test_an_own_isd_r_is_noted_in_the_trace(tmp_path):
    async def job(slot, world):
        await slot.start()
        return await slot.lpa.eid()

    eid, events = on_slot(rack_of(tmp_path, "own-isd-r"), job)
    assert len(eid) == 32
    assert "the ISD-R has an AID of its own: A0000005591010FFFFFFFF8900000177" in marks(events)
