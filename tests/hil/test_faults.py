"""What goes wrong on a bench, done to the real layers in the middle of a run: the slot ends with the right outcome, the
others go on, and the next run succeeds without anything being restarted.
"""

import subprocess
import sys

import pytest

LOADING = "LoadBoundProfilePackage"


@pytest.fixture
def mixed(pcsc_lab, in_reader, behind_modems):
    """Two readers and two modems, slow enough to be disturbed; the lab, and the rack file of the bench."""
    readers, real_readers = in_reader("4FF", "iSIM")
    modems, real_modems = behind_modems(pcsc_lab.folder, ["quectel-eg25", "sim-generic"])
    pcsc_lab.start_with_vpcd(readers + modems, rate=3)
    return pcsc_lab, pcsc_lab.rack("real", real_readers + real_modems)


def outcomes(slots) -> dict[str, str]:
    return {name: slot["outcome"] for name, slot in slots.items()}


def test_the_pcsc_service_dies_in_the_middle_of_a_download(mixed):
    lab, rack = mixed
    run = lab.live_run("provision", rack)
    run.until("R0", LOADING)
    lab.pcscd.kill()
    lab.pcscd.start()
    slots = run.ends()
    assert outcomes(slots) == {"R0": "ERROR", "R1": "ERROR", "M0": "PASS", "M1": "PASS"}
    assert "PC/SC" in slots["R0"]["steps"][-1]["detail"]
    assert outcomes(lab.live_run("provision", rack, "--slot", "R*").ends()) == {"R0": "PASS", "R1": "PASS"}


def test_a_card_is_pulled_and_put_back(mixed):
    lab, rack = mixed
    run = lab.live_run("provision", rack)
    run.until("R0", LOADING)
    lab.control("unplug R0")
    slots = run.ends()
    assert outcomes(slots) == {"R0": "ERROR", "R1": "PASS", "M0": "PASS", "M1": "PASS"}
    assert "card" in slots["R0"]["steps"][-1]["detail"]
    lab.control("insert R0")
    assert outcomes(lab.live_run("provision", rack, "--slot", "R0").ends()) == {"R0": "PASS"}


def test_a_tty_hangs_up(mixed):
    lab, rack = mixed
    run = lab.live_run("provision", rack)
    run.until("M0", LOADING)
    lab.control("hang-up M0")
    slots = run.ends()
    assert outcomes(slots) == {"R0": "PASS", "R1": "PASS", "M0": "ERROR", "M1": "PASS"}
    assert "port" in slots["M0"]["steps"][-1]["detail"]
    assert outcomes(lab.live_run("provision", rack, "--slot", "M0").ends()) == {"M0": "PASS"}


HOLDER = """
import fcntl, os, sys
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(port, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_port_that_another_process_holds(mixed):
    lab, rack = mixed
    port = str(lab.folder / "home" / "serve" / "served" / "M0")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        slots = lab.live_run("provision", rack, "--slot", "M*").ends()
        assert outcomes(slots) == {"M0": "ERROR", "M1": "PASS"}
        assert f"(pid {holder.pid})" in slots["M0"]["steps"][-1]["detail"]
        holder.communicate()
    assert outcomes(lab.live_run("provision", rack, "--slot", "M0").ends()) == {"M0": "PASS"}
