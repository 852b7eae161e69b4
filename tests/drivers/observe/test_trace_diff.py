"""Two traces side by side: the bench's own exchanges, those of a module, masked or not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke
from esim_bench.events import ApduEvent, Event, SniffedApduEvent
from esim_bench.rack.slot import Slot
from esim_bench.trace import Journal, Reader, SecretMask
from esim_bench.trace.diff import diff
from esim_drivers.sim.usb_simtrace import tpdu

T0 = 1_767_225_600_000_000_000
VERIFY = "0020000108"


def own(number: int, command: str, response: str) -> ApduEvent:
    return ApduEvent(T0 + number, bytes.fromhex(command), bytes.fromhex(response), number)


@pytest.fixture
def trace(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, *events: Event, mask: SecretMask | None = None) -> Path:
        path = tmp_path / f"{name}.pcapng"
        with Journal.create(path, slot="A1", mask=mask) as journal:
            for event in events:
                journal.emit(event)
        return path

    return write


def differences(one: Path, two: Path, **sides: Any) -> list[tuple[str, int | None, int | None]]:
    with Reader(one) as left, Reader(two) as right:
        return [
            (each.what, each.left and each.left.index + 1, each.right and each.right.index + 1)
            for each in diff(left, right, **sides)
        ]


def test_the_same_exchanges_at_other_times_are_no_difference(trace: Callable[..., Path]) -> None:
    one = trace("one", own(1, "80F2000C", "9000"), own(2, "00A4000C022FE2", "9000"))
    two = trace("two", own(7, "80F2000C", "9000"), own(9, "00A4000C022FE2", "9000"))
    assert differences(one, two) == []


def test_what_is_missing_what_is_more_and_what_was_answered_otherwise(trace: Callable[..., Path]) -> None:
    status, iccid, read = own(1, "80F2000C", "9000"), own(2, "00A4000C022FE2", "9000"), own(3, "00B000000A", "9000")
    one = trace("one", status, iccid, read, own(4, "81E2910003BF220000", "6114"))
    two = trace("two", iccid, own(3, "00B000000A", "6982"), status, own(4, "81E2910003BF2E0000", "6114"))
    assert differences(one, two) == [
        ("left", 1, None),
        ("response", 3, 2),
        ("left", 4, None),
        ("right", None, 3),
        ("right", None, 4),
    ]


def test_masked_bytes_are_no_difference(trace: Callable[..., Path]) -> None:
    event = own(1, VERIFY + "31323334FFFFFFFF", "9000")
    assert differences(trace("raw", event), trace("masked", event, mask=SecretMask())) == []
    other = own(1, VERIFY + "31323334FFFFFFFF", "63C2")
    assert differences(trace("raw", event), trace("other", other, mask=SecretMask())) == [("response", 1, 1)]


def test_a_module_s_traffic_is_compared_with_the_bench_s(
    trace: Callable[..., Path], simulated: Callable[..., tuple[list[Event], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    async def info(slot: Slot) -> None:
        await slot.lpa.info()

    events, _ = simulated(info)
    said = [event for event in events if isinstance(event, ApduEvent)]
    heard = [SniffedApduEvent(one.at_ns, tpdu(one.command), one.response, 0, "simtrace") for one in said]
    ours, module = trace("ours", *said), trace("module", own(1, "80F2000C", "9000"), *heard[:-1])
    assert differences(ours, module, sides=("apdu", "sniff")) == [("left", len(said), None)]
    assert invoke(["trace", "diff", str(ours), str(module), "--right", "sniff"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("- ")
    assert invoke(["trace", "diff", str(ours), str(ours), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []
    assert invoke(["trace", "diff", str(ours), str(ours), "--left", "uart"]) == 2
