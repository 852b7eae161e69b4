"""``rack locks``, ``rack lock``, ``rack unlock``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench.cli import session
from esim_bench.cli.main import invoke
from esim_bench.errors import InUseError
from esim_bench.rack.slot import Slot

Bench = Callable[..., Any]


@pytest.fixture
def bench(bench_rack: Any, capsys: pytest.CaptureFixture[str]) -> Bench:
    def run(*words: str, code: int = 0) -> Any:
        rack = () if words[1] == "locks" else ("--rack", str(bench_rack.rack.path))
        capsys.readouterr()
        assert invoke([*words, *rack, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_a_reservation_by_hand_is_listed_and_respected(
    bench: Bench, bench_rack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job(slot: Slot) -> str:
        return slot.name

    def work() -> str:
        return session.on_slot(str(bench_rack.rack.path), "A1", job, start=False)

    monkeypatch.setenv("ESIM_BENCH_OWNER", "ada")
    made = bench("rack", "lock", "A1", "--note", "do not touch", "--for", "2h")
    assert made["devices"] == ["usb:9-1 port 1", "usb:9-1.1"]
    assert made["until"] == pytest.approx(time.time() + 7200, abs=60)
    rows = bench("rack", "locks")["locks"]
    assert {(row["state"], row["device"], row["owner"], row["note"]) for row in rows} == {
        ("reserved", device, "ada", "do not touch") for device in made["devices"]
    }
    assert work() == "A1"
    monkeypatch.setenv("ESIM_BENCH_OWNER", "bob")
    with pytest.raises(InUseError, match="reserved until"):
        work()
    assert "ada" in bench("rack", "unlock", "A1", code=3)["error"]["message"]
    assert len(bench("rack", "unlock", "A1", "--force")["done"]) == 2
    assert work() == "A1"
    assert bench("rack", "unlock", "A1")["done"] == []


def test_a_run_that_holds_the_slot_is_listed_and_can_be_kicked(bench: Bench, bench_rack: Any) -> None:
    async def job(slot: Slot) -> None:
        rows = bench("rack", "locks")["locks"]
        assert {row["state"] for row in rows} == {"held"}
        a1, a2 = bench("rack", "list")["slots"]
        assert a1["state"].startswith("held by ")
        assert a2["state"] == "free, not looked at"
        assert "in use" in bench("rack", "unlock", "A1", code=3)["error"]["message"]
        bench("rack", "unlock", "A1", "--force")
        await slot.lpa.eid()

    with pytest.raises(InUseError, match="was taken away"):
        session.on_slot(str(bench_rack.rack.path), "A1", job)


@pytest.mark.parametrize("duration", ["", "8", "8w", "-1h", "0s", "31d", "1.5h"])
def test_durations_that_are_none(bench: Bench, duration: str) -> None:
    assert "expected a duration" in bench("rack", "lock", "A1", "--for", duration, code=2)["error"]["message"]


def test_a_simulated_slot_is_not_locked(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["rack", "lock", "A1"]) == 2
    assert "a simulated slot has no device to lock" in capsys.readouterr().err


def test_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["rack", "locks"]) == 0
    assert "no device is held or reserved" in capsys.readouterr().err
