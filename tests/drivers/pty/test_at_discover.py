"""Looking for modems: free ports are asked, used ones are left alone and their user is named."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esim_bench.errors import ConfigError
from esim_drivers.at import discover
from esim_drivers.at.driver import driver


def sysfs(root: Path, dev: Path, **ttys: Path) -> None:
    """Make a USB device at 1-1.3 with an interface for each tty: ``if0=...``."""
    device = root / "bus/usb/devices/1-1.3"
    device.mkdir(parents=True)
    (device / "manufacturer").write_text("Quectel\n")
    (device / "product").write_text("EG25-G\n")
    (device / "serial").write_text("0123\n")
    dev.mkdir()
    for number, (name, target) in enumerate(ttys.items()):
        (root / f"bus/usb/devices/1-1.3:1.{name[2:]}" / f"ttyUSB{number}").mkdir(parents=True)
        (dev / f"ttyUSB{number}").symlink_to(target)


def test_a_modem_behind_two_ports_of_one_usb_device_is_one_module(pty_rig, tmp_path):
    silent, other = os.openpty()

    async def body(rig):
        await rig.modem.close()
        sysfs(tmp_path / "other", tmp_path / "dev", if0=Path(os.ttyname(other)), if2=rig.host.link)
        ports = await discover.ports(tmp_path / "other", tmp_path / "dev")
        assert [port.kind for port in ports] == ["port", "module"]
        (module,) = discover.modules(ports)
        assert module.table == {"driver": "at", "port": "usb:1-1.3:1.2"}
        assert (module.usb, module.serial) == ("1-1.3", "0123")
        assert module.details["module"] == "quectel-eg25"
        assert module.details["imei"]
        assert module.details["other ports"] == "usb:1-1.3:1.0"

    try:
        pty_rig(body, "quectel-eg25")
    finally:
        os.close(silent)
        os.close(other)


HOLDER = """
import fcntl, os, sys
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(port, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_port_in_use_is_not_opened_and_its_user_is_named(tmp_path):
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = asyncio.run(driver.probe_port(path))
        assert found.kind == "port"
        assert f"(pid {holder.pid})" in (found.trouble or "")
        holder.communicate()
    os.close(master)


def test_a_port_that_is_not_there_and_what_is_no_port():
    found = asyncio.run(driver.probe_port("/dev/no-such-tty"))
    assert "No such file" in (found.trouble or "")
    with pytest.raises(ConfigError, match="not the name of a serial port"):
        asyncio.run(driver.probe_port("ttyUSB0"))


@pytest.mark.parametrize(
    ("model", "row"),
    [("EG25", "quectel-eg25"), ("SIMCOM_SIM7600G-H", "simcom-sim7600g-h"), ("SARA-R5", "ublox-sara-r5"), ("X1", None)],
)
def test_the_row_of_a_module_is_found_by_its_model(model, row):
    assert discover.known_module({"model": model}) == row
