"""Looking for modems: free ports are asked, used ones are left alone and their user is named."""

import asyncio
import os
import subprocess
import sys
import termios
import tty
from pathlib import Path

import pytest

from esim_bench.errors import ConfigError
from esim_drivers.at import discover, port
from esim_drivers.at.driver import AtDriver, driver
from esim_drivers.usbtree import UsbTree


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
        ports = await discover.ports(UsbTree(tmp_path / "other", tmp_path / "dev"))
        assert [port.kind for port in ports] == ["port", "module"]
        (module,) = discover.modules(ports)
        assert module.table == {"driver": "at", "port": "usb:1-1.3:1.2"}
        assert (module.usb, module.serial) == ("1-1.3", "0123")
        assert module.details["module"] == "quectel-eg25"
        assert module.details["imei"]
        assert module.details["other ports"] == "usb:1-1.3:1.0"
        assert module.paths == (str(tmp_path / "dev/ttyUSB1"), str(tmp_path / "dev/ttyUSB0"))

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


@pytest.mark.parametrize("echo", [True, False])
def test_a_modem_is_left_as_it_was_found(pty_rig, echo):
    async def body(rig):
        await rig.modem.command("ATE1" if echo else "ATE0")
        await rig.modem.close()
        found = await driver.probe_port(str(rig.host.link))
        assert found.kind == "module"
        assert rig.sim._at.echo is echo

    pty_rig(body, "quectel-eg25")


class Scripted:
    """What hangs at a UART: answers at one speed alone, with the model in ATI if it has no AT+CGMM."""

    def __init__(self, speed: int, answers: dict[str, str], *, echoes: bool = True) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave, self._speed, self._answers = slave, speed, answers
        self._echo, self._echoes = True, echoes
        self.heard: list[str] = []
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        data = os.read(self.master, 1000)
        if termios.tcgetattr(self._slave)[5] != self._speed:
            return
        for line in data.decode().split("\r")[:-1]:
            self.heard.append(line)
            if self._echoes and self._echo:
                os.write(self.master, f"{line}\r".encode())
            self._echo = line != "ATE0" and (self._echo or line.startswith("ATE1"))
            known = self._answers.get(line, "" if line.startswith("ATE") else None)
            text = "\r\nERROR\r\n" if known is None else f"{known and f'{chr(13)}{chr(10)}{known}'}\r\nOK\r\n"
            os.write(self.master, text.encode())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self._slave)


def looked(monkeypatch, body):
    """Run a body in which all waits are a tenth of what they are."""
    monkeypatch.setattr(port, "STEP_TIMEOUT", port.STEP_TIMEOUT / 10)
    monkeypatch.setattr(discover, "ANSWER_SECONDS", discover.ANSWER_SECONDS / 10)
    return asyncio.run(body())


def test_a_uart_is_asked_at_the_usual_speeds_and_the_one_that_works_is_told(monkeypatch):
    async def body():
        modem = Scripted(termios.B921600, {"ATI": "ACME\r\nX1", "AT+CGSN": "350000000000006"})
        try:
            return await driver.probe_port(modem.path)
        finally:
            modem.close()

    found = looked(monkeypatch, body)
    assert found.kind == "module"
    assert found.table["baud"] == 921600
    assert found.details["model"] == "ACME X1"
    assert "adapter" not in found.details


def test_a_modem_that_never_echoes_is_found(monkeypatch):
    async def body():
        modem = Scripted(termios.B115200, {"AT+CGMM": "X1"}, echoes=False)
        try:
            return await driver.probe_port(modem.path)
        finally:
            modem.close()

    assert looked(monkeypatch, body).name == "X1"


def test_a_uart_on_which_nobody_answers_at_any_speed(monkeypatch):
    async def body():
        modem = Scripted(termios.B300, {})
        try:
            return await driver.probe_port(modem.path)
        finally:
            modem.close()

    found = looked(monkeypatch, body)
    assert (found.kind, found.details, found.trouble) == ("port", {"answers": "no"}, None)


def test_two_modems_at_one_adapter_stay_two_and_a_port_to_leave_alone_hears_nothing(monkeypatch, tmp_path):
    async def body():
        first, second, third = (Scripted(termios.B115200, {"AT+CGMM": model}) for model in ("SARA-R5", "X2", "X3"))
        root, dev = tmp_path / "sys", tmp_path / "dev"
        sysfs(root, dev, if0=Path(first.path), if1=Path(second.path), if2=Path(third.path))
        for number in range(3):
            (root / f"bus/usb/devices/1-1.3:1.{number}/driver").symlink_to("../../drivers/ftdi_sio")
        looking = AtDriver(UsbTree(root, dev))
        try:
            found = await looking.look(lambda port: "held by ann" if port.table["port"].endswith(".2") else None)
            assert third.heard == []
            return found
        finally:
            for one in (first, second, third):
                one.close()

    found = looked(monkeypatch, body)
    assert [(one.kind, one.table["port"], one.trouble) for one in found] == [
        ("module", "usb:1-1.3:1.0", None),
        ("module", "usb:1-1.3:1.1", None),
        ("port", "usb:1-1.3:1.2", "held by ann"),
    ]
    assert found[0].details["module"] == "ublox-sara-r5"
