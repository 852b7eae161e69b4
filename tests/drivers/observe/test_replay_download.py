"""A whole provisioning from a journal: it replays where the servers say the same again, and says where they do not."""

from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.cli.main import invoke
from esim_bench.errors import ProtocolError
from esim_bench.events import ApduEvent, EventSink, ListSink
from esim_bench.rack.model import SlotSpec, load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World
from esim_bench.trace import Journal, Reader


async def provision(slot: Slot) -> str:
    """Download a profile and tell the server. (A slot that is not simulated would note that it is the bench's.)"""
    order = await slot.world.order(ProfileSource(profile="operational-a"))
    result = await slot.lpa.download(order.activation_code)
    await slot.lpa.deliver_notifications()
    return result.metadata.iccid.hex()


def on(spec: SlotSpec, world: World, sink: EventSink) -> Any:
    async def main() -> str:
        slot = open_slot(spec, world, sink)
        try:
            await slot.start()
            return await provision(slot)
        finally:
            await slot.link.close()
            if slot.modem is not None:
                await slot.modem.close()

    return main()


def replayed(path: Path, slot: str, tmp_path: Path) -> SlotSpec:
    rack = tmp_path / "rack.toml"
    rack.write_text(
        f'[rack]\nname = "replayed"\n[[slot]]\nname = "{slot}"\n'
        f'form_factor = "{"4FF" if slot == "A1" else "MFF2"}"\n'
        f'card = {{ driver = "replay", journal = "{path}" }}\n'
    )
    return load_rack(rack).one(slot)


@pytest.mark.parametrize("slot", ["A1", "B1"])
def test_a_download_replays_where_the_server_says_the_same(slot: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Simulated servers are a function of the seed: the same session again has the same challenge and keys."""
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    rack, path, sink = load_rack("sim-3"), tmp_path / f"{slot}.pcapng", ListSink()
    with Journal.create(path, slot=slot) as journal:
        told = clock.run_virtual(on(rack.one(slot), World(rack, "5"), journal))
    again = clock.run_virtual(on(replayed(path, slot, tmp_path), World(rack, "5"), sink))
    assert again == told
    with Reader(path) as reader:
        recorded = [record.event for record in reader if isinstance(record.event, ApduEvent)]
    served = [event for event in sink.events if isinstance(event, ApduEvent)]
    assert [(one.command, one.response) for one in served] == [
        (one.command, one.response) for one in recorded if one.command[1:3] != b"\x70\x80"
    ]


def test_a_download_with_a_new_challenge_leaves_the_way_at_authenticate_server(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    rack, path = load_rack("sim-3"), tmp_path / "A1.pcapng"

    async def main() -> None:
        world = World(rack, "5")
        with Journal.create(path, slot="A1") as journal:
            await on(rack.one("A1"), world, journal)
        # The same servers go on: the next session with this eUICC has another challenge.
        await on(replayed(path, "A1", tmp_path), world, ListSink())

    with pytest.raises(ProtocolError) as diverged:
        clock.run_virtual(main())
    text = str(diverged.value)
    assert "the run leaves the recorded way" in text
    assert "(ES10b.AuthenticateServer" in text
    assert "AuthenticateServer has the server's challenge and transaction id, new each time" in text


def test_a_power_cycle_replays_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    traces = tmp_path / "recorded", tmp_path / "replayed"
    cut = ["run", "power_cycle", "--slot", "A1", "-p", "cut=idle"]
    assert invoke([*cut, "--trace-dir", str(traces[0])]) == 0
    journal = traces[0] / "A1.pcapng"
    rack = tmp_path / "rack.toml"
    rack.write_text(
        f'[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n'
        f'card = {{ driver = "replay", journal = "{journal}" }}\n'
        'power = { driver = "replay", proof = "none", off_s = 0.0, on_s = 0.0 }\n'
    )
    assert invoke([*cut, "--rack", str(rack), "-p", "off_s=0", "--trace-dir", str(traces[1])]) == 0
    capsys.readouterr()
    # What the second run did more is to leave the slot as a real one is left.
    assert invoke(["trace", "diff", str(journal), str(traces[1] / "A1.pcapng")]) == 1
    (more,) = capsys.readouterr().out.splitlines()
    assert more.startswith("+ ")
    assert "MANAGE CHANNEL close 1" in more
