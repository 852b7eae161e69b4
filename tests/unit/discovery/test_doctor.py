"""Why something does not work: what the doctor sees on sick machines, and that he finds nothing on a healthy one."""

import errno
import json
import shlex
import socket
import tempfile
from pathlib import Path

import pytest

from esim_bench.cli.main import invoke
from esim_bench.rack import doctor
from esim_bench.rack.doctor import examine
from esim_bench.rack.machine import Finding, Machine
from esim_bench.rack.model import Rack, load_rack


def machine(root: Path, **changes: object) -> Machine:
    """Return a user's machine on which nothing is installed; all its files may be used."""
    values: dict[str, object] = {
        "root": root,
        "uid": 1000,
        "user": "ann",
        "groups": frozenset(),
        "release": "5.10.0",
        "has_module": lambda name: False,
        "library": lambda name: None,
        "pcsc_socket": None,
        "may": lambda path: True,
        "group_of": lambda path: "dialout",
        "connect": lambda path: errno.ENOENT,
    }
    return Machine(**{**values, **changes})  # type: ignore[arg-type]


def findings(host: Machine, rack: Rack | None = None) -> dict[str, Finding]:
    return {one.what: one for one in examine(rack, host)}


def bad(host: Machine, rack: Rack | None = None) -> dict[str, Finding]:
    return {what: one for what, one in findings(host, rack).items() if one.ok is False}


def touch(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# ------------------------------------------------------------------------------------------------------- as a whole


def test_a_sick_machine_and_what_mends_it(fake) -> None:
    fake.process(42, "ModemManager")
    found = findings(machine(fake.root))
    for what, mend in {
        "the PC/SC library libpcsclite is missing": "apt install libpcsclite1",
        "the Python library pyscard is missing": "pip install 'esim-bench[pcsc]'",
        "the PC/SC service is not installed": "apt install pcscd",
        "you are not in the group dialout": "usermod -aG dialout",
        "ModemManager runs (pid 42)": "kill 42",
        "the USB library libusb-1.0 is missing": "apt install libusb-1.0-0",
        "the udev rules are not installed": "70-esim-bench.rules",
        "PyVISA's pure-Python backend is missing": "esim-bench[scpi]",
    }.items():
        assert found[what].ok is False, what
        assert found[what].why, what
        assert mend in found[what].mend, what
    assert found["Linux 5.10.0 has no disable file for USB ports"].ok is None


def test_a_healthy_machine(fake, module) -> None:
    module("1-1.3")
    fake.plug("1-1.2", "OMNIKEY", address=9)
    fake.interface("1-1.2:1.0", kind="0b", driver="usbfs")
    fake.process(7, "pcscd")
    fake.process(8, "ModemManager")
    touch(fake.root, "etc/udev/rules.d/70-esim-bench.rules")
    touch(fake.root, "usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents/Info.plist")
    touch(fake.sys, "bus/usb/devices/1-0:1.0/usb1-port1/disable")
    healthy = machine(
        fake.root,
        groups=frozenset(("dialout", "plugdev")),
        has_module=lambda name: True,
        library=lambda name: f"lib{name}.so",
        connect=lambda path: 0,
    )
    assert [one.what for one in examine(None, healthy) if one.ok is not True] == []


def test_only_what_the_rack_needs_is_looked_at(fake, tmp_path) -> None:
    rack = rack_of(tmp_path, 'card = { driver = "pcsc", reader = "name:X" }')
    found = findings(machine(fake.root), rack)
    assert all("serial port" not in what and "libusb" not in what for what in found)
    assert any("PC/SC" in what for what in found)


def test_the_doctor_ends_with_3_when_something_is_bad(monkeypatch, fake, capsys) -> None:
    monkeypatch.setattr(doctor, "Machine", lambda: machine(fake.root))
    assert invoke(["rack", "doctor"]) == 3
    assert "mend it: sudo apt install pcscd" in capsys.readouterr().out
    assert invoke(["rack", "doctor", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert all(one["why"] and one["mend"] for one in document["findings"] if one["ok"] is False)


def test_a_simulated_rack_needs_nothing(capsys) -> None:
    assert invoke(["rack", "doctor", "--rack", "sim-3"]) == 0
    assert "needs nothing" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- PC/SC


@pytest.mark.parametrize(
    ("systemd", "process", "answer", "what", "mend"),
    [
        (True, False, errno.ENOENT, "the PC/SC service is not running", "systemctl enable --now pcscd.socket"),
        (False, False, errno.ENOENT, "the PC/SC service is not running", "sudo pcscd"),
        (True, False, errno.ECONNREFUSED, "the PC/SC service was killed, and left its socket behind", "rm -f"),
        (True, True, errno.ENOENT, "the PC/SC service runs (pid 7) and cannot be reached", "systemctl restart"),
        (True, True, errno.EACCES, "the PC/SC service's socket may not be used", "run as a user"),
    ],
)
def test_a_service_that_cannot_be_used(fake, systemd, process, answer, what, mend) -> None:
    touch(fake.root, "usr/sbin/pcscd")
    if systemd:
        (fake.root / "run/systemd/system").mkdir(parents=True)
    if process:
        fake.process(7, "pcscd")
    found = bad(machine(fake.root, connect=lambda path: answer))
    assert mend in found[what].mend


def test_a_service_that_starts_with_its_first_client(fake) -> None:
    assert "the PC/SC service starts with its first client" in findings(machine(fake.root, connect=lambda path: 0))


def test_sockets_are_told_apart_by_trying() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder, "pcscd.comm")
        assert Machine().connect(path) == errno.ENOENT
        server.bind(str(path))
        assert Machine().connect(path) == errno.ECONNREFUSED
        server.listen()
        assert Machine().connect(path) == 0


def test_a_reader_without_its_driver_and_one_that_the_kernel_took(fake) -> None:
    fake.plug("1-1.2", "ACR122U")
    fake.interface("1-1.2:1.0", kind="0b", driver="pn533_usb")
    found = bad(machine(fake.root))
    assert "apt install libccid" in found["the driver for USB readers is missing"].mend
    taken = found["the kernel's driver pn533_usb holds the reader at 1-1.2 (ACR122U)"]
    assert "blacklist pn533_usb" in taken.mend


def test_polkit_without_a_rule_for_readers(fake) -> None:
    touch(fake.root, "usr/share/polkit-1/actions/org.debian.pcsc-lite.policy")
    host = machine(fake.root)
    found = findings(host)["polkit decides who may use readers"]
    assert found.ok is None
    rules = Path(shlex.split(found.mend)[2])
    assert rules.is_file()
    touch(fake.root, "etc/polkit-1/rules.d/60-ours.rules", rules.read_text())
    assert "polkit decides who may use readers" not in findings(host)


def test_gnupg_may_have_the_reader(fake) -> None:
    fake.process(77, "scdaemon")
    assert findings(machine(fake.root))["scdaemon runs (pid 77)"].mend == "gpgconf --kill scdaemon"


# ------------------------------------------------------------------------------------------------------- serial and USB


def test_ports_that_may_not_be_opened_and_whose_they_are(fake, module) -> None:
    module("1-1.3")
    closed = machine(fake.root, may=lambda path: not path.name.startswith("ttyUSB"), group_of=lambda path: "uucp")
    found = bad(closed)["you may not open ttyUSB0, ttyUSB1, ttyUSB2, ttyUSB3"]
    assert "usermod -aG uucp" in found.mend


def test_a_new_member_logs_in_again(fake) -> None:
    touch(fake.root, "etc/group", "root:x:0:\ndialout:x:20:bob,ann\n")
    found = bad(machine(fake.root))["you are not in the group dialout"]
    assert found.mend == "log in again"


def test_a_group_that_this_system_does_not_know_is_made(fake) -> None:
    touch(fake.root, "etc/group", "root:x:0:\n")
    touch(fake.root, "etc/udev/rules.d/70-esim-bench.rules")
    assert bad(machine(fake.root))["you are not in the group plugdev"].mend.startswith("sudo groupadd -r plugdev && ")


def test_ports_that_modem_manager_holds_although_it_was_told_to_keep_off(fake, module) -> None:
    module("1-1.3")
    touch(fake.root, "etc/udev/rules.d/70-esim-bench.rules")
    fake.process(812, "ModemManager", "/dev/ttyUSB2", "/dev/cdc-wdm0", "/dev/null")
    found = bad(machine(fake.root))["ModemManager (pid 812) holds cdc-wdm0, ttyUSB2"]
    assert found.mend == "sudo kill 812"


def test_brltty_takes_serial_adapters(fake) -> None:
    fake.process(3, "brltty")
    assert "apt remove brltty" in bad(machine(fake.root))["brltty runs (pid 3)"].mend


def test_rules_that_came_after_the_device(fake) -> None:
    fake.plug("1-1", "Hub", kind="09", address=4)
    touch(fake.root, "etc/udev/rules.d/70-esim-bench.rules")
    host = machine(fake.root, groups=frozenset(("plugdev",)), may=lambda path: "bus/usb" not in str(path))
    assert "udevadm trigger" in bad(host)["you may not open the USB devices at 1-1"].mend


def test_switches_of_the_kernel_that_may_not_be_used(fake) -> None:
    touch(fake.sys, "bus/usb/devices/1-0:1.0/usb1-port1/disable")
    host = machine(fake.root, may=lambda path: path.name != "disable")
    found = findings(host)["the kernel's switches of USB ports may not be used (1 of 1 disable files)"]
    assert found.ok is None
    assert "70-esim-bench.rules" in found.mend


def test_autosuspend_of_what_matters(fake, module) -> None:
    module("1-1.3")
    fake.plug("1-1", "Hub", kind="09")
    for place in ("1-1", "1-1.3"):
        touch(fake.devices, f"{place}/power/control", "auto\n")
    found = findings(machine(fake.root))["USB autosuspend is on for 1-1.3 (Quectel EG25-G)"]
    assert found.ok is None
    assert found.mend == "echo on | sudo tee /sys/bus/usb/devices/1-1.3/power/control"
    touch(fake.devices, "1-1.3/power/control", "on\n")
    assert not any("autosuspend" in what for what in findings(machine(fake.root)))


# ------------------------------------------------------------------------------------------------------- slots


def rack_of(folder: Path, *lines: str) -> Rack:
    path = folder / "rack.toml"
    head = '[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\nmodule = "quectel-eg25"\n'
    path.write_text(head + "\n".join(lines) + "\n")
    return load_rack(path)


def of_slot(host: Machine, rack: Rack) -> list[str]:
    return [what for what in findings(host, rack) if what.startswith("slot ")]


def test_a_slot_whose_devices_are_there(fake, module, tmp_path) -> None:
    module("1-1.3")
    rack = rack_of(tmp_path, 'modem = { driver = "at", port = "usb:1-1.3:1.2" }')
    assert of_slot(machine(fake.root), rack) == ["slot A1: what its tables name is there"]


def test_a_slot_whose_module_hangs_elsewhere(fake, module, tmp_path) -> None:
    module("1-1.4")
    rack = rack_of(tmp_path, 'modem = { driver = "at", port = "usb:1-1.3:1.2" }')
    assert of_slot(machine(fake.root), rack) == ["slot A1: nothing is plugged in at 1-1.3"]


def test_a_slot_that_names_an_interface_without_a_port(fake, module, tmp_path) -> None:
    module("1-1.3")
    rack = rack_of(tmp_path, 'modem = { driver = "at", port = "usb:1-1.3:1.7" }')
    assert of_slot(machine(fake.root), rack) == ["slot A1: no serial port at usb:1-1.3:1.7"]


def test_a_slot_whose_port_may_not_be_opened_or_is_in_use(fake, module, tmp_path) -> None:
    module("1-1.3")
    fake.process(5, "minicom", "/dev/ttyUSB2")
    rack = rack_of(tmp_path, 'modem = { driver = "at", port = "usb:1-1.3:1.2" }')
    assert of_slot(machine(fake.root, may=lambda path: path.name != "ttyUSB2"), rack) == [
        "slot A1: you may not open /dev/ttyUSB2",
        "slot A1: /dev/ttyUSB2 is open in minicom (pid 5)",
    ]


def test_a_slot_that_names_a_moving_number(fake, tmp_path) -> None:
    rack = rack_of(tmp_path, 'modem = { driver = "at", port = "/dev/ttyUSB2" }')
    assert of_slot(machine(fake.root), rack) == ["slot A1: there is no /dev/ttyUSB2"]


def test_a_serial_number_that_clones_share(fake, tmp_path) -> None:
    fake.plug("1-2", "Reader", serial="0001")
    fake.plug("1-3", "Reader", serial="0001")
    rack = rack_of(tmp_path, 'card = { driver = "pcsc", reader = "serial:0001" }')
    assert of_slot(machine(fake.root), rack) == ["slot A1: pcsc: several devices have the serial number 0001"]
