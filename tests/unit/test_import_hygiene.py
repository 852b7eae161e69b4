"""The laws of the house hold in a running interpreter, not only in the sources."""

import subprocess
import sys

import pytest

FOREIGN = ("textual", "serial", "smartcard", "usb")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["esim_bench.scenario.engine", "esim_bench.cli.main", "esim_bench.servers.smdp"])
def test_the_core_loads_no_driver_and_no_device_library(module: str) -> None:
    modules = loaded_by(f"import {module}")
    assert not [name for name in modules if name.split(".")[0] in (*FOREIGN, "esim_drivers")]


@pytest.mark.parametrize("module", ["esim_bench.codec.es10", "esim_bench.codec.saip", "esim_bench.crypto.bsp"])
def test_codec_and_crypto_load_nothing_of_ours_but_errors(module: str) -> None:
    ours = {name for name in loaded_by(f"import {module}") if name.startswith("esim_bench.")}
    allowed = ("esim_bench.errors", "esim_bench.codec", "esim_bench.crypto")
    assert not [name for name in ours if not name.startswith(allowed)]


def test_the_simulated_driver_loads_no_upper_room() -> None:
    ours = {name for name in loaded_by("import esim_drivers.sim.host") if name.startswith("esim_bench.")}
    upper = ("card", "agents", "servers", "rack", "scenario", "trace", "store", "report", "cli")
    assert not [name for name in ours if name.split(".")[1] in upper]
