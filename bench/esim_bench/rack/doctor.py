"""Why the bench cannot reach its devices: rights, services, libraries, other programs; and what mends each.

No device is opened: files of the system are looked at, below a root, so that a test can build a sick machine.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from esim_bench import data
from esim_bench.rack.doctor_slots import slots
from esim_bench.rack.machine import DEVICES, Finding, Machine, UsbPart
from esim_bench.rack.model import Rack

RULES: Final = "70-esim-bench.rules"
POLKIT_RULES: Final = "50-esim-bench.rules"
_RULE_FOLDERS: Final = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d", "/run/udev/rules.d")
_PCSCD_FOLDERS: Final = ("/usr/sbin", "/usr/bin", "/usr/local/sbin")
_IFD_FOLDERS: Final = ("usr/lib/pcsc/drivers", "usr/lib64/pcsc/drivers", "usr/lib/*/pcsc/drivers")
_DISABLE_SINCE: Final = (6, 0)
READER_CLASS: Final = "0b"
HUB_CLASS: Final = "09"
_OWNED_BY_USER: Final = frozenset((("16c0", "05df"), ("5131", "2007"), ("0519", "2018"), ("1d50", "60e3")))
"""HID relays and SIMtrace2."""


def examine(rack: Rack | None = None, machine: Machine | None = None) -> list[Finding]:
    """Look at all that the devices of a rack need; without a rack at all that any device needs."""
    host = machine if machine is not None else Machine()
    drivers = _drivers(rack)
    devices = host.usb()
    findings: list[Finding] = []
    if _any(drivers, "pcsc"):
        findings += _pcsc(host, devices)
    if _any(drivers, "at", "uart", "relay-lcus", "sim-mux", "modem-power"):
        findings += _serial(host, devices)
    if _any(drivers, "usb-hub", "relay-hid", "simtrace", "scpi"):
        findings += _usb(host, devices)
    if _any(drivers, "usb-hub"):
        findings += _hubs(host)
    if _any(drivers, "scpi"):
        findings += _scpi(host)
    if _any(drivers, "pcsc", "at"):
        findings += _autosuspend(devices)
    return findings if rack is None else [*findings, *slots(rack, host, devices)]


def _drivers(rack: Rack | None) -> frozenset[str] | None:
    if rack is None:
        return None
    tables = [table for slot in rack.slots for table in (slot.card, slot.modem, slot.power, *slot.observe) if table]
    return frozenset(table.driver for table in tables)


def _any(drivers: frozenset[str] | None, *names: str) -> bool:
    return drivers is None or not drivers.isdisjoint(names)


# ----------------------------------------------------------------------------------------------------------- PC/SC


def _pcsc(host: Machine, devices: Sequence[UsbPart]) -> list[Finding]:
    readers = "cards in readers cannot be reached without it"
    findings = [
        _library(host, "pcsclite", "the PC/SC library libpcsclite", readers, "sudo apt install libpcsclite1"),
        _module(host, "smartcard", "the Python library pyscard", readers, "pip install 'esim-bench[pcsc]'"),
        _service(host, readers),
        *_readers(host, devices),
    ]
    policy = any(host.at("/usr/share/polkit-1/actions").glob("*pcsc-lite*.policy"))
    if host.uid != 0 and policy:
        folders = ("/etc/polkit-1/rules.d", "/usr/share/polkit-1/rules.d")
        if not any("pcsc-lite" in _text(rule) for folder in folders for rule in host.at(folder).glob("*.rules")):
            rules = data.root() / "hw" / "polkit" / POLKIT_RULES
            findings.append(
                Finding(
                    "polkit decides who may use readers",
                    None,
                    "a login over SSH or a nightly job may be refused (access denied)",
                    f"sudo cp {rules} /etc/polkit-1/rules.d/",
                )
            )
    pid = host.runs("scdaemon")
    if pid is not None:
        why = "GnuPG takes readers for itself while it uses them"
        findings.append(Finding(f"scdaemon runs (pid {pid})", None, why, "gpgconf --kill scdaemon"))
    return findings


def _service(host: Machine, why: str) -> Finding:
    path = host.pcsc_socket or host.at("/run/pcscd/pcscd.comm")
    pid = host.runs("pcscd")
    refused = host.connect(path)
    start = "sudo systemctl enable --now pcscd.socket" if host.systemd else "sudo pcscd"
    if refused == 0:
        how = f"runs (pid {pid})" if pid is not None else "starts with its first client"
        return Finding(f"the PC/SC service {how}", True)
    if refused == errno.EACCES:
        text = f"{path} belongs to somebody else"
        return Finding("the PC/SC service's socket may not be used", False, text, "run as a user who may open it")
    if pid is not None:
        text = f"it does not listen at {path}: clients look for it there"
        again = "sudo systemctl restart pcscd.socket pcscd.service" if host.systemd else f"sudo kill {pid}; sudo pcscd"
        return Finding(f"the PC/SC service runs (pid {pid}) and cannot be reached", False, text, again)
    if not any(host.at(folder).joinpath("pcscd").exists() for folder in _PCSCD_FOLDERS):
        return Finding("the PC/SC service is not installed", False, why, "sudo apt install pcscd")
    if refused == errno.ECONNREFUSED:
        # It does not start beside what one that was killed has left.
        mend = f"sudo rm -f {path} {path.with_name('pcscd.pid')} && {start}"
        return Finding("the PC/SC service was killed, and left its socket behind", False, why, mend)
    return Finding("the PC/SC service is not running", False, why, start)


def _readers(host: Machine, devices: Sequence[UsbPart]) -> list[Finding]:
    readers = [device for device in devices if READER_CLASS in device.classes]
    if not readers:
        return [Finding("no USB reader is plugged in", None, "virtual readers and serial ones are not seen here")]
    findings = [Finding(f"{len(readers)} USB readers are plugged in", True)]
    if not any(path for folder in _IFD_FOLDERS for path in host.root.glob(f"{folder}/ifd-ccid.bundle")):
        why = "the PC/SC service sees no USB reader without it"
        findings.append(Finding("the driver for USB readers is missing", False, why, "sudo apt install libccid"))
    for device in readers:
        for driver in sorted(set(device.drivers.values()) - {"usbfs"}):
            if driver.startswith(("pn533", "nfc")):
                mend = f"echo blacklist {driver} | sudo tee /etc/modprobe.d/esim-bench.conf; sudo modprobe -r {driver}"
                findings.append(
                    Finding(
                        f"the kernel's driver {driver} holds the reader at {device.place} ({device.name})",
                        False,
                        "the PC/SC service cannot have it too",
                        mend,
                    )
                )
    return findings


# ----------------------------------------------------------------------------------------------------------- serial


def _serial(host: Machine, devices: Sequence[UsbPart]) -> list[Finding]:
    ports = sorted(
        path for pattern in ("ttyUSB*", "ttyACM*") for path in host.at("/dev").glob(pattern) if path.exists()
    )
    if ports:
        findings = [Finding(f"{len(ports)} USB serial ports", True)]
    else:
        findings = [Finding("no USB serial port is plugged in", None, "a modem's AT port is one of these")]
    closed = [path.name for path in ports if not host.may(path)]
    if closed:
        group = host.group_of(host.at(f"/dev/{closed[0]}"))
        what = f"you may not open {', '.join(closed)}"
        findings.append(_not_in(host, "dialout" if group == "root" else group, what, "serial ports belong to it"))
    elif not ports and host.uid != 0 and "dialout" not in host.groups:
        findings.append(_not_in(host, "dialout", "", "serial ports belong to it"))
    else:
        findings.append(Finding("you may open serial ports", True))
    findings.append(_modem_manager(host))
    pid = host.runs("brltty")
    if pid is not None:
        why = "it takes CH340 and CP210x adapters for Braille displays: their ports vanish"
        findings.append(Finding(f"brltty runs (pid {pid})", False, why, "sudo apt remove brltty"))
    return findings


def _modem_manager(host: Machine) -> Finding:
    pid = host.runs("ModemManager")
    stop = "sudo systemctl stop ModemManager" if host.systemd else f"sudo kill {pid}"
    if pid is None:
        return Finding("ModemManager does not run", True)
    held = host.nodes_of(pid)
    why = "it holds the ports of modules and opens channels of its own"
    if held:
        mend = stop if _rules_installed(host) else f"{_install_rules()}, or: {stop}"
        return Finding(f"ModemManager (pid {pid}) holds {', '.join(held)}", False, why, mend)
    if _rules_installed(host):
        return Finding(f"ModemManager runs (pid {pid}) and is told to keep off", True)
    return Finding(f"ModemManager runs (pid {pid})", False, why, f"{_install_rules()}, or: {stop}")


def _not_in(host: Machine, group: str, what: str, why: str) -> Finding:
    """Say that the user lacks a group, which one he may have since his login, or which this system does not know."""
    exists, member = host.group(group)
    if group in host.groups:
        return Finding(what, False, f"you are in the group {group}, which is not enough", _install_rules())
    text = what or f"you are not in the group {group}"
    if member:
        return Finding(text, False, f"{why}; you are in it since your last login", "log in again")
    make = "" if exists or not host.at("/etc/group").exists() else f"sudo groupadd -r {group} && "
    mend = f"{make}sudo usermod -aG {group} $USER, then log in again"
    return Finding(text, False, why if not what else f"group {group}: {why}", mend)


# ----------------------------------------------------------------------------------------------------------- USB


def _usb(host: Machine, devices: Sequence[UsbPart]) -> list[Finding]:
    use = "hubs, HID relays, sniffers and USB instruments are reached by it"
    findings = [
        _library(host, "usb-1.0", "the USB library libusb-1.0", use, "sudo apt install libusb-1.0-0"),
        _module(host, "usb", "the Python library pyusb", use, "pip install pyusb"),
    ]
    ours = [one for one in devices if HUB_CLASS in one.classes or (one.vendor, one.product_id) in _OWNED_BY_USER]
    nodes = [(one, host.at(one.node)) for one in ours if one.node]
    closed = [one.place for one, node in nodes if node.exists() and not host.may(node)]
    if host.uid == 0 or (nodes and not closed):
        findings.append(Finding("you may open USB devices", True))
    elif not _rules_installed(host):
        text = "USB devices belong to root unless a udev rule says otherwise"
        findings.append(Finding("the udev rules are not installed", False, text, _install_rules()))
    elif "plugdev" not in host.groups:
        what = f"you may not open the USB devices at {', '.join(closed)}" if closed else ""
        findings.append(_not_in(host, "plugdev", what, "the udev rules give USB devices to it"))
    elif closed:
        what = f"you may not open the USB devices at {', '.join(closed)}"
        why = "the udev rules are installed, and were not applied to what was plugged in before"
        findings.append(Finding(what, False, why, "sudo udevadm control --reload && sudo udevadm trigger"))
    else:
        findings.append(Finding("you may open USB devices", True))
    return findings


def _hubs(host: Machine) -> list[Finding]:
    found = re.match(r"(\d+)\.(\d+)", host.release)
    files = list(host.at(DEVICES).glob("*:*/*-port*/disable"))
    if files:
        closed = [path for path in files if not host.may(path)]
        if closed:
            what = f"the kernel's switches of USB ports may not be used ({len(closed)} of {len(files)} disable files)"
            why = "the hub is asked instead, and the kernel may power a port again"
            mend = "sudo udevadm trigger --action=add" if _rules_installed(host) else _install_rules("--action=add")
            return [Finding(what, None, why, mend)]
        return [Finding(f"the kernel switches USB ports itself ({len(files)} disable files)", True)]
    if found and (int(found[1]), int(found[2])) < _DISABLE_SINCE:
        why = "before Linux 6.0 the kernel powers a port again that was switched off: requests are repeated"
        return [Finding(f"Linux {host.release} has no disable file for USB ports", None, why, "a newer kernel")]
    return []


def _autosuspend(devices: Sequence[UsbPart]) -> list[Finding]:
    sleepy = [one for one in devices if one.autosuspend and (one.ttys or READER_CLASS in one.classes)]
    if not sleepy:
        return []
    what = ", ".join(f"{one.place} ({one.name})" for one in sleepy)
    files = " ".join(f"{DEVICES}/{one.place}/power/control" for one in sleepy)
    why = "some modules vanish from the bus or lose unsolicited lines when they are suspended"
    return [Finding(f"USB autosuspend is on for {what}", None, why, f"echo on | sudo tee {files}")]


def _scpi(host: Machine) -> list[Finding]:
    use = "power supplies are spoken to by it"
    mend = "pip install 'esim-bench[scpi]'"
    return [
        _module(host, "pyvisa", "the Python library PyVISA", use, mend),
        _module(host, "pyvisa_py", "PyVISA's pure-Python backend", use, mend),
    ]


def _library(host: Machine, name: str, what: str, why: str, mend: str) -> Finding:
    return _there(host.library(name) is not None, what, why, mend)


def _module(host: Machine, name: str, what: str, why: str, mend: str) -> Finding:
    return _there(host.has_module(name), what, why, mend)


def _there(there: bool, what: str, why: str, mend: str) -> Finding:
    return Finding(f"{what} is installed", True) if there else Finding(f"{what} is missing", False, why, mend)


def _rules_installed(host: Machine) -> bool:
    return any(host.at(folder).joinpath(RULES).exists() for folder in _RULE_FOLDERS)


def _install_rules(options: str = "") -> str:
    rules = data.root() / "hw" / "udev" / RULES
    again = f"sudo udevadm trigger {options}".strip()
    return f"sudo cp {rules} /etc/udev/rules.d/ && sudo udevadm control --reload && {again}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
