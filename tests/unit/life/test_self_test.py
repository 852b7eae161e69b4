"""``rack check --self-test``: what fails with a known-good card in place is the rig."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke
from esim_bench.codec.es10 import eid_to_text

Tester = Callable[..., Any]


def eid_of(device: Any) -> str:
    return eid_to_text(device.card.identity.eid)


@pytest.fixture
def tested(bench_rack: Any, capsys: pytest.CaptureFixture[str]) -> Tester:
    """Self-test slot A1; ``good``: the EID of the bench's known-good card."""

    def run(good: str | None, *, code: int) -> dict[str, tuple[str, str]]:
        path = Path(bench_rack.rack.path)
        if good is not None:
            path.write_text(path.read_text().replace("[[slot]]", f'known_good = {{ eid = "{good}" }}\n[[slot]]', 1))
        capsys.readouterr()
        assert invoke(["rack", "check", str(path), "--self-test", "--slot", "A1", "--cycles", "2", "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        (slot,) = document["slots"]
        assert document["ok"] == (code == 0)
        return {
            "": (slot["verdict"], ""),
            **{part["part"]: (part["verdict"], part["detail"]) for part in slot["parts"]},
        }

    return run


def test_a_good_card_in_a_good_rig(bench_rack: Any, tested: Tester) -> None:
    found = tested(eid_of(bench_rack.a1), code=0)
    assert list(found) == ["", "open", "power on", "card", "identity", "power cycles"]
    assert {verdict for verdict, _ in found.values()} == {"rig ok"}
    assert bench_rack.a1.log.count("off") == 2
    assert found["power cycles"][1].startswith("2 times off and on")


def test_without_a_good_card_the_self_test_says_so(tested: Tester) -> None:
    assert "no known_good in the rack file" in tested(None, code=0)["identity"][1]


def test_another_card_than_the_good_one_is_suspect_and_the_rig_is_not(tested: Tester) -> None:
    found = tested("8" * 32, code=1)
    assert found[""][0] == found["identity"][0] == "device suspect"
    assert "not the known-good card" in found["identity"][1]
    assert found["power cycles"][0] == "rig ok"


@pytest.mark.parametrize(("known", "verdict", "code"), [(True, "rig broken", 3), (False, "device suspect", 1)])
def test_a_card_that_does_not_answer(bench_rack: Any, tested: Tester, *, known: bool, verdict: str, code: int) -> None:
    bench_rack.a1.behaviour = "silent"
    found = tested(eid_of(bench_rack.a1) if known else None, code=code)
    assert found[""][0] == found["card"][0] == verdict
    assert "does not answer" in found["card"][1]
    assert ("known to be good would tell" in found["card"][1]) is not known
    assert "identity" not in found


def test_a_switch_that_does_not_switch_is_the_rig_whatever_card_is_there(bench_rack: Any, tested: Tester) -> None:
    bench_rack.a1.switch_fails = True
    found = tested(None, code=3)
    assert found["power on"][0] == "rig broken"
    assert "the relay sticks" in found["power on"][1]
    assert "card" not in found


def test_a_card_that_changes_over_a_cycle(bench_rack: Any, tested: Tester, monkeypatch: pytest.MonkeyPatch) -> None:
    good = eid_of(bench_rack.a1)
    link_connect = bench_rack.link.connect

    async def connect(self: Any) -> bytes:
        atr: bytes = await link_connect(self)
        return atr[:-1] if self.device.opened > 2 else atr

    monkeypatch.setattr(bench_rack.link, "connect", connect)
    found = tested(good, code=3)
    assert found["power cycles"][0] == "rig broken"
    assert found["power cycles"][1].startswith("cycle 2 of 2: ATR 3B")


def test_a_simulated_rack(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["rack", "check", "--self-test", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [slot["verdict"] for slot in document["slots"]] == ["rig ok"] * 3
    assert "modem" in [part["part"] for part in document["slots"][1]["parts"]]
    assert invoke(["rack", "check", "--self-test"]) == 0
    shown = capsys.readouterr().out
    assert "A1: rig ok" in shown


@pytest.mark.parametrize("table", ["{ }", '{ eid = "12" }', '{ iccid = "x" }'])
def test_a_known_good_card_must_have_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str) -> None:
    rack = tmp_path / "rack.toml"
    rack.write_text(
        f'[rack]\nname = "x"\nknown_good = {table}\n[[slot]]\nname = "A1"\nform_factor = "4FF"\nsim = {{ }}\n'
    )
    assert invoke(["rack", "check", str(rack)]) == 2
    assert "rack.toml:3: rack.known_good" in capsys.readouterr().err
