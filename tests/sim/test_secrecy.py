"""What a trace of a real slot does not hold."""

import asyncio
from pathlib import Path

import pytest

from esim_bench.rack.model import Rack as LoadedRack
from esim_bench.rack.model import RackFile, SlotSpec
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World
from esim_bench.scenario import engine
from esim_bench.trace import SecretMask

REAL = {"name": "R1", "form_factor": "4FF", "card": {"driver": "pcsc", "reader": "usb:1-1"}}
SIMULATED = {"name": "S1", "form_factor": "4FF", "sim": {}}
SOURCE = ProfileSource(activation_code="LPA:1$dp.example.com$SECRET-ID", confirmation_code="4711")


def secrecy(slot: dict[str, object], **options: bool) -> dict[str, object]:
    rack = LoadedRack(Path("rack.toml"), RackFile.model_validate({"rack": {"name": "r"}, "slot": [slot]}))
    spec: SlotSpec = rack.slots[0]
    job = engine._secrecy(World(rack, "1"), spec, SOURCE, engine.RunOptions(**options))
    return asyncio.run(job)


def test_a_real_slot_is_masked() -> None:
    assert isinstance(secrecy(REAL)["mask"], SecretMask)


def test_a_simulated_slot_is_raw() -> None:
    assert secrecy(SIMULATED) == {}


@pytest.mark.parametrize("slot", [REAL])
def test_secrets_on_request_go_into_a_private_file(slot: dict[str, object]) -> None:
    assert secrecy(slot, trace_secrets=True) == {"private": True}
