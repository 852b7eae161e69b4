"""What a run was made with: the device as it told of itself, and the bench around it, as JSON values.

Of a simulated slot only what its seed decides: no host, no library, no time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import plistlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import esim_bench
from esim_bench.codec.es10 import EuiccInfo2
from esim_bench.errors import BenchError
from esim_bench.ports import DRIVER_GROUP
from esim_bench.rack import devices
from esim_bench.rack.model import Rack, SlotSpec

if TYPE_CHECKING:
    from esim_bench.rack.slot import Slot

LIBRARIES: Final = ("pyscard", "pyserial", "pyusb", "pyvisa", "pyvisa-py")
_CCID: Final = (
    "/usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents/Info.plist",
    "/usr/lib64/pcsc/drivers/ifd-ccid.bundle/Contents/Info.plist",
)
_ASK_SECONDS: Final = 2.0


@dataclass(slots=True)
class DeviceRecord:
    """What a device told of itself while it was worked with. EID and IMEI are no secrets."""

    form_factor: str
    module: str | None = None
    atr: str = ""
    eid: str = ""
    euicc: dict[str, str] = field(default_factory=dict)
    """Of EUICCInfo2: sgp22 (svn), firmware, profile_package, category, form_factor (of treProperties)."""
    modem: dict[str, str] = field(default_factory=dict)
    """manufacturer, model, revision, imei."""

    def saw_euicc(self, eid: str, info: EuiccInfo2) -> None:
        """Take what the eUICC said."""
        self.eid = eid
        self.euicc = {"sgp22": info.svn_text, "firmware": info.firmware_text}
        if info.tre is not None:
            self.euicc["tre"] = "integrated" if info.tre.integrated else "discrete"

    async def saw_modem(self, slot: Slot) -> None:
        """Ask the modem who it is, once; what it does not tell is not recorded. Raises DeviceError."""
        if slot.modem is not None and not self.modem:
            self.modem = {name: text for name, text in (await slot.modem.identity()).items() if text}

    async def complete(self, slot: Slot) -> None:
        """Ask for what nobody has asked for yet; what does not answer stays unknown."""
        self.atr = self.atr or slot.card.atr.hex().upper()
        try:
            await self.saw_modem(slot)
            if not self.eid:
                self.saw_euicc(await slot.lpa.eid(), await slot.lpa.info())
        except BenchError:
            return  # the run has its outcome: this is not the time for another one

    def document(self) -> dict[str, Any]:
        """Return what is known."""
        values = {
            "form_factor": self.form_factor,
            "module": self.module,
            "atr": self.atr,
            "eid": self.eid,
            "euicc": dict(self.euicc),
            "modem": dict(self.modem),
        }
        return {name: value for name, value in values.items() if value}


# --------------------------------------------------------------------------------------------------------------- bench


def slot_bench(spec: SlotSpec) -> dict[str, Any]:
    """Return what a slot is reached by: the drivers of its parts with the packages that they come from."""
    if spec.simulated:
        personality = spec.sim.personality if spec.sim is not None else ""
        return {"drivers": {"sim": f"sim ({_package_of('sim')})"}, "personality": personality}
    named = {"card": spec.card, "modem": spec.modem, "power": spec.power}
    drivers = {part: table.driver for part, table in named.items() if table is not None}
    drivers |= {f"observe {number}": table.driver for number, table in enumerate(spec.observe, 1)}
    return {
        "drivers": {part: f"{name} ({_package_of(name)})" for part, name in drivers.items()},
        "devices": list(devices.devices(spec)),
    }


def run_bench(rack: Rack) -> dict[str, Any]:
    """Return what all slots of a run share: our version and the rack file's digest; of a real rack also the host."""
    known: dict[str, Any] = {"esim-bench": esim_bench.__version__, "rack_file": _digest(rack.path)}
    if rack.simulated:
        return known
    libraries = {name: text for name in LIBRARIES if (text := _installed(name))}
    if any(table.driver == "pcsc" for spec in rack.slots for table in devices.tables(spec)):
        libraries |= {name: text for name, text in (("pcscd", _pcscd()), ("ccid", _ccid(_CCID))) if text}
    return known | {
        "host": socket.gethostname(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
    }


def _digest(path: Path) -> dict[str, str]:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        digest = ""
    return {"name": path.name, "sha256": digest}


@cache
def _package_of(driver: str) -> str:
    for point in entry_points(group=DRIVER_GROUP):
        if point.name == driver and point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return "unknown package"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def _pcscd() -> str:
    program = shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else ""


def _ccid(places: Iterable[str]) -> str:
    for place in places:
        try:
            return str(plistlib.loads(Path(place).read_bytes()).get("CFBundleShortVersionString", ""))
        except (OSError, ValueError, plistlib.InvalidFileException):
            continue
    return ""
