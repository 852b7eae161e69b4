"""A folder that looks like the root of a machine: USB devices in /sys, their nodes in /dev, processes in /proc."""

from collections.abc import Callable
from pathlib import Path

import pytest


class FakeMachine:
    """Plug things in, start processes; paths are below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys, self.dev, self.proc = root / "sys", root / "dev", root / "proc"
        self.devices = self.sys / "bus/usb/devices"
        for folder in (self.devices, self.dev, self.proc):
            folder.mkdir(parents=True)

    def plug(self, place: str, product: str = "", *, kind: str = "00", address: int = 1, **texts: str) -> Path:
        """Plug a USB device in: ``manufacturer``, ``serial``, ``idVendor``, ``idProduct`` as sysfs has them."""
        folder = self.devices / place
        folder.mkdir()
        values = {"product": product, "busnum": place[0], "devnum": str(address), "bDeviceClass": kind, **texts}
        for name, value in values.items():
            if value:
                (folder / name).write_text(f"{value}\n")
        node = self.dev / f"bus/usb/{int(place[0]):03}/{address:03}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        return folder

    def interface(self, name: str, *, kind: str = "ff", driver: str = "", tty: str = "", hidraw: str = "") -> Path:
        """Give a device an interface, with a driver of the kernel and its nodes."""
        folder = self.devices / name
        folder.mkdir()
        (folder / "bInterfaceClass").write_text(f"{kind}\n")
        if driver:
            (folder / "driver").symlink_to(f"../../drivers/{driver}")
        if tty:
            # usb-serial puts the port itself here, cdc_acm a folder "tty" around it.
            (folder / "tty" / tty if tty.startswith("ttyACM") else folder / tty).mkdir(parents=True)
            (self.dev / tty).touch()
        if hidraw:
            (folder / "0003:16C0:05DF.0001/hidraw" / hidraw).mkdir(parents=True)
        return folder

    def process(self, pid: int, name: str, *files: str) -> None:
        """Start a process that has files of this machine open."""
        folder = self.proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")
        for number, file in enumerate(files, start=3):
            (folder / "fd" / str(number)).symlink_to(self.root / file.lstrip("/"))


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "root")


@pytest.fixture
def module(fake: FakeMachine) -> Callable[[str], None]:
    """Return what plugs an EG25 in: a log, a GNSS port, two AT ports."""

    def plug(place: str) -> None:
        fake.plug(place, "EG25-G", manufacturer="Quectel", idVendor="2c7c", idProduct="0125", address=7)
        for number in range(4):
            fake.interface(f"{place}:1.{number}", driver="option", tty=f"ttyUSB{number}")

    return plug
