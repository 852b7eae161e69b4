"""Why the bench cannot reach its devices: rights, services, libraries, other programs; and what mends each.

Nothing is opened: files of the system are looked at, below a root, so that a test can build a sick machine.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import grp
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from esim_bench import data
from esim_bench.rack.model import Rack

RULES: Final = "70-esim-bench.rules"
_DISABLE_SINCE: Final = (6, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool | None
    """None: it works as it is, and could be better."""
    why: str = ""
    """Why it matters."""
    mend: str = ""
    """The command that mends it."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"what": self.what, "ok": self.ok, "why": self.why, "mend": self.mend}


@dataclass(slots=True)
class Machine:
    """The machine that is examined; what a test replaces."""

    root: Path = Path("/")
    uid: int = field(default_factory=os.getuid)
    groups: frozenset[str] = field(default_factory=lambda: frozenset(_own_groups()))
    release: str = field(default_factory=lambda: os.uname().release)
    has_module: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None
    library: Callable[[str], str | None] = ctypes.util.find_library
    pcsc_socket: Path | None = field(
        default_factory=lambda: Path(name) if (name := os.environ.get("PCSCLITE_CSOCK_NAME")) else None
    )

    def at(self, path: str) -> Path:
        """Return a path of that machine."""
        return self.root / path.lstrip("/")

    def processes(self) -> Iterator[tuple[int, str]]:
        """Yield the processes: pid and name."""
        for process in sorted(self.at("/proc").glob("[0-9]*")):
            with contextlib.suppress(OSError):
                yield int(process.name), (process / "comm").read_text().strip()

    def runs(self, *names: str) -> int | None:
        """Return the pid of a process of one of these names."""
        return next((pid for pid, name in self.processes() if name in names), None)


def _own_groups() -> Iterator[str]:
    for number in os.getgroups():
        with contextlib.suppress(KeyError):
            yield grp.getgrgid(number).gr_name


def examine(rack: Rack | None = None, machine: Machine | None = None) -> list[Finding]:
    """Look at all that the devices of a rack need; without a rack at all that any device needs."""
    host = machine if machine is not None else Machine()
    drivers = _drivers(rack)
    findings: list[Finding] = []
    if _any(drivers, "pcsc"):
        findings += _pcsc(host)
    if _any(drivers, "at", "uart", "relay-lcus", "sim-mux", "modem-power"):
        findings += _serial(host)
    if _any(drivers, "usb-hub", "relay-hid", "simtrace"):
        findings += _usb(host)
    if _any(drivers, "usb-hub"):
        findings += _hubs(host)
    if _any(drivers, "scpi"):
        findings += _scpi(host)
    return findings


def _drivers(rack: Rack | None) -> frozenset[str] | None:
    if rack is None:
        return None
    tables = [table for slot in rack.slots for table in (slot.card, slot.modem, slot.power, *slot.observe) if table]
    return frozenset(table.driver for table in tables)


def _any(drivers: frozenset[str] | None, *names: str) -> bool:
    return drivers is None or not drivers.isdisjoint(names)


# ----------------------------------------------------------------------------------------------------------- PC/SC


def _pcsc(host: Machine) -> list[Finding]:
    readers = "cards in readers cannot be reached without it"
    findings = [
        _library(host, "pcsclite", "the PC/SC library libpcsclite", readers, "sudo apt install libpcsclite1"),
        _module(host, "smartcard", "the Python library pyscard", readers, "pip install 'esim-bench[pcsc]'"),
    ]
    pid = host.runs("pcscd")
    sockets = [host.pcsc_socket] if host.pcsc_socket else [host.at("/run/pcscd/pcscd.comm")]
    listening = any(path.exists() for path in sockets)
    if pid is not None:
        findings.append(Finding(f"the PC/SC service runs (pid {pid})", True))
    elif listening:
        findings.append(Finding("the PC/SC service starts with its first client", True))
    elif any(host.at(folder).joinpath("pcscd").exists() for folder in ("/usr/sbin", "/usr/bin", "/usr/local/sbin")):
        findings.append(
            Finding("the PC/SC service is not running", False, readers, "sudo systemctl enable --now pcscd.socket")
        )
    else:
        findings.append(Finding("the PC/SC service is not installed", False, readers, "sudo apt install pcscd"))
    if host.uid != 0 and host.at("/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy").exists():
        folders = ("/etc/polkit-1/rules.d", "/usr/share/polkit-1/rules.d")
        rules = [rule for folder in folders for rule in host.at(folder).glob("*pcsc*")]
        if not rules:
            findings.append(
                Finding(
                    "polkit decides who may use readers",
                    None,
                    "a login over SSH or a nightly job may be refused (access denied)",
                    "write a rule for org.debian.pcsc-lite.access_pcsc and .access_card into /etc/polkit-1/rules.d",
                )
            )
    return findings


# ----------------------------------------------------------------------------------------------------------- serial


def _serial(host: Machine) -> list[Finding]:
    ports = sorted(
        path for pattern in ("ttyUSB*", "ttyACM*") for path in host.at("/dev").glob(pattern) if path.exists()
    )
    if ports:
        findings = [Finding(f"{len(ports)} USB serial ports", True)]
    else:
        findings = [Finding("no USB serial port is plugged in", None, "a modem's AT port is one of these")]
    if host.uid != 0 and "dialout" not in host.groups:
        findings.append(
            Finding(
                "you are not in the group dialout",
                False,
                "serial ports belong to it",
                "sudo usermod -aG dialout $USER, then log in again",
            )
        )
    else:
        findings.append(Finding("you may open serial ports", True))
    pid = host.runs("ModemManager")
    if pid is None:
        findings.append(Finding("ModemManager does not run", True))
    elif _rules_installed(host):
        findings.append(Finding(f"ModemManager runs (pid {pid}) and is told to keep off", True))
    else:
        findings.append(
            Finding(
                f"ModemManager runs (pid {pid})",
                False,
                "it holds the ports of modules and opens channels of its own",
                f"{_install_rules()}, or: sudo systemctl stop ModemManager",
            )
        )
    return findings


# ----------------------------------------------------------------------------------------------------------- USB


def _usb(host: Machine) -> list[Finding]:
    use = "hubs, HID relays and sniffers are reached by it"
    findings = [
        _library(host, "usb-1.0", "the USB library libusb-1.0", use, "sudo apt install libusb-1.0-0"),
        _module(host, "usb", "the Python library pyusb", use, "pip install pyusb"),
    ]
    if host.uid == 0:
        findings.append(Finding("you may open USB devices", True))
    elif not _rules_installed(host):
        text = "USB devices belong to root unless a udev rule says otherwise"
        findings.append(Finding("the udev rules are not installed", False, text, _install_rules()))
    elif "plugdev" not in host.groups:
        mend = "sudo usermod -aG plugdev $USER, then log in again"
        findings.append(
            Finding("you are not in the group plugdev", False, "the udev rules give USB devices to it", mend)
        )
    else:
        findings.append(Finding("you may open USB devices", True))
    return findings


def _hubs(host: Machine) -> list[Finding]:
    found = re.match(r"(\d+)\.(\d+)", host.release)
    files = list(host.at("/sys/bus/usb/devices").glob("*:*/*-port*/disable"))
    if files:
        return [Finding(f"the kernel switches USB ports itself ({len(files)} disable files)", True)]
    if found and (int(found[1]), int(found[2])) < _DISABLE_SINCE:
        why = "before Linux 6.0 the kernel powers a port again that was switched off: requests are repeated"
        return [Finding(f"Linux {host.release} has no disable file for USB ports", None, why, "a newer kernel")]
    return []


def _scpi(host: Machine) -> list[Finding]:
    use = "power supplies are spoken to by it"
    mend = "pip install 'esim-bench[scpi]'"
    return [
        _module(host, "pyvisa", "the Python library PyVISA", use, mend),
        _module(host, "pyvisa_py", "PyVISA's pure-Python backend", use, mend),
    ]


def _library(host: Machine, name: str, what: str, why: str, mend: str) -> Finding:
    there = host.library(name) is not None
    return Finding(f"{what} is installed" if there else f"{what} is missing", there, "" if there else why, mend)


def _module(host: Machine, name: str, what: str, why: str, mend: str) -> Finding:
    there = host.has_module(name)
    return Finding(f"{what} is installed" if there else f"{what} is missing", there, "" if there else why, mend)


def _rules_installed(host: Machine) -> bool:
    folders = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d", "/run/udev/rules.d")
    return any(host.at(folder).joinpath(RULES).exists() for folder in folders)


def _install_rules() -> str:
    rules = data.root() / "hw" / "udev" / RULES
    return f"sudo cp {rules} /etc/udev/rules.d/ && sudo udevadm control --reload && sudo udevadm trigger"
