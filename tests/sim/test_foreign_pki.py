"""The main job under other people's certificates: brainpool, and a PKI that the openssl command made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke

RACK = """\
[rack]
name = "foreign"
pki = "pki"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global" }

[[slot]]
name = "C1"
form_factor = "iSIM"
module = "sequans-gm02s"
sim = { personality = "isim", profile = "bootstrap-global" }
"""

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = invoke([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("curve", ["p256", "brainpool"])
def test_provisioning_under_a_pki_from_a_folder(bench: Run, tmp_path: Path, curve: str) -> None:
    code, _ = bench("pki", "init", str(tmp_path / "pki"), "--curve", curve)
    assert code == 0
    rack = tmp_path / "rack.toml"
    rack.write_text(RACK)
    code, document = bench("run", "provision", "--rack", str(rack))
    assert (code, document["outcome"]) == (0, "PASS"), document
    code, info = bench("euicc", "info", "A1", "--rack", str(rack))
    assert code == 0
    assert len(info["ci_keys_verification"]) == 1


def test_a_server_of_another_pki_is_refused_by_name(bench: Run, tmp_path: Path) -> None:
    """The SM-DP+ has certificates of one CI, the eUICC trusts another: said before anything is installed."""
    from esim_bench import clock
    from esim_bench.crypto.randomness import SeededRandomness
    from esim_bench.events import NullSink
    from esim_bench.rack.model import load_rack
    from esim_bench.rack.slot import open_slot
    from esim_bench.rack.source import ProfileSource
    from esim_bench.rack.world import World
    from esim_bench.servers.pki import create_pki, make_eid

    rack = load_rack()
    world = World(rack, "1")
    other = create_pki(SeededRandomness("another"), now_ns=clock.VIRTUAL_EPOCH_NS)
    world.identity = lambda slot: other.issue_euicc(make_eid(1), SeededRandomness("x"))  # type: ignore[method-assign]

    async def job() -> str:
        slot = open_slot(rack.one("A1"), world, NullSink())
        await slot.start()
        order = await world.order(ProfileSource(profile="operational-a"))
        try:
            await slot.lpa.download(order.activation_code)
        except Exception as exc:
            return f"{type(exc).__name__}: {exc}"
        finally:
            await slot.close()
        return "installed"

    answer = clock.run_virtual(job())
    assert "8.8.2/3.1" in answer
