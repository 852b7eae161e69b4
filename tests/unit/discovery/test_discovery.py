"""What is plugged in, told together; a rack file of it that is good at once; and why something does not work."""

import asyncio
import json
from pathlib import Path

import pytest

from esim_bench.cli.main import invoke
from esim_bench.errors import TransportError
from esim_bench.ports import FoundDevice
from esim_bench.rack import discovery
from esim_bench.rack.check import check
from esim_bench.rack.discovery import Found, group
from esim_bench.rack.doctor import Machine, examine
from esim_bench.rack.init import rack_file, udev_rules
from esim_bench.rack.model import load_rack

HUB = FoundDevice("hub", "USB hub", {"driver": "usb-hub", "location": "1-1", "port": 1}, usb="1-1")
EG25 = FoundDevice(
    "module",
    "Quectel EG25",
    {"driver": "at", "port": "usb:1-1.3:1.2"},
    usb="1-1.3",
    paths=("/dev/ttyUSB2",),
    details={
        "manufacturer": "Quectel",
        "model": "EG25",
        "imei": "352906110000018",
        "module": "quectel-eg25",
        "other ports": "usb:1-1.3:1.0",
    },
)
SNIFFER = FoundDevice("sniffer", "SIMtrace2", {"driver": "simtrace", "usb": "1-1.4"}, usb="1-1.4")
READER = FoundDevice(
    "reader", 'ACME "Twin" 00 00', {"driver": "pcsc", "reader": "usb:1-2"}, usb="1-2", details={"atr": "3B9F96"}
)
STRANGER = FoundDevice("module", "Nobody X1", {"driver": "at", "port": "/dev/ttyS0"}, details={"model": "X1"})


def test_a_module_is_told_with_the_hub_port_that_feeds_it() -> None:
    found = group([HUB, READER, SNIFFER, EG25])
    assert [one.device.kind for one in found] == ["module", "reader", "sniffer", "hub"]
    assert found[0].power == {"driver": "usb-hub", "location": "1-1", "port": 3}
    assert found[1].power is None


def test_parts_of_one_usb_device_are_one_thing() -> None:
    port = FoundDevice("port", "its log", {"driver": "at", "port": "usb:1-1.3:1.0"}, usb="1-1.3")
    (one,) = group([port, EG25])
    assert one.device is EG25
    assert one.parts == (port,)


def test_the_two_readers_of_a_dual_reader_stay_two() -> None:
    other = FoundDevice("reader", "ACME Twin 00 01", {"driver": "pcsc", "reader": "usb:1-2", "slot": 1}, usb="1-2")
    assert len(group([READER, other])) == 2


def test_the_rack_file_is_good_at_once_and_says_what_is_guessed(tmp_path: Path) -> None:
    text = rack_file(group([HUB, READER, SNIFFER, EG25, STRANGER]), "lab")
    assert text is not None
    path = tmp_path / "rack.toml"
    path.write_text(text)
    rack = load_rack(path)
    check(rack)
    assert [(slot.name, slot.form_factor.value, slot.module) for slot in rack.slots] == [
        ("M1", "MFF2", "sim-generic"),
        ("M2", "MFF2", "quectel-eg25"),
        ("R1", "4FF", None),
    ]
    assert '# power = { driver = "usb-hub", location = "1-1", port = 3, proof = "usb-gone" }' in text
    assert "modem probe" in text
    assert "a guess" in text
    assert 'sniffer SIMtrace2: { driver = "simtrace", usb = "1-1.4" }' in text
    # With its power line uncommented it is still good.
    path.write_text(text.replace('# power = { driver = "usb-hub"', 'power = { driver = "usb-hub"'))
    check(load_rack(path))


def test_nothing_to_make_a_slot_of() -> None:
    assert rack_file([Found(SNIFFER)], "lab") is None


def test_udev_rules_name_the_place() -> None:
    rules = udev_rules(group([EG25, READER]))
    assert 'KERNELS=="1-1.3", ENV{ID_MM_DEVICE_IGNORE}="1"' in rules
    assert "1-2" not in rules


# ------------------------------------------------------------------------------------------------------- side by side


class Looking:
    def __init__(self, result: object) -> None:
        self.result = result

    async def discover(self) -> list[FoundDevice]:
        if isinstance(self.result, Exception):
            raise self.result
        if self.result == "hangs":
            await asyncio.sleep(3600)
        assert isinstance(self.result, list)
        return self.result


class Point:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch):
    def plug(**drivers: object) -> None:
        monkeypatch.setattr(discovery, "entry_points", lambda group: [Point(name) for name in drivers])
        monkeypatch.setattr(discovery, "load_driver", lambda name: Looking(drivers[name]))
        monkeypatch.setattr(discovery, "LIMIT", 0.2)

    return plug


def test_one_driver_that_fails_or_hangs_holds_up_no_other(plugged_in) -> None:
    plugged_in(pcsc=TransportError("no service"), hub="hangs", at=[EG25])
    result = asyncio.run(discovery.discover())
    assert [one.device.name for one in result.found] == ["Quectel EG25"]
    assert result.troubles == {"pcsc": "no service", "hub": "did not end within 0.2 s"}


def test_discover_and_init_from_the_command_line(plugged_in, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    plugged_in(at=[EG25], pcsc=[READER])
    assert invoke(["rack", "discover", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [device["kind"] for device in document["devices"]] == ["module", "reader"]
    assert invoke(["rack", "discover"]) == 0
    assert "Quectel EG25" in capsys.readouterr().out
    assert invoke(["rack", "init", "--udev", "71.rules", "--pki", "pki"]) == 0
    assert invoke(["rack", "init"]) == 2
    assert "--force" in capsys.readouterr().err
    assert invoke(["rack", "init", "--force"]) == 0
    assert {slot.name for slot in load_rack("rack.toml").slots} == {"M1", "R1"}


def test_init_with_nothing_plugged_in_says_what_was_in_the_way(plugged_in, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    plugged_in(pcsc=TransportError("the PC/SC service is not running"))
    assert invoke(["rack", "init"]) == 2
    assert "the PC/SC service is not running" in capsys.readouterr().err
    assert not (tmp_path / "rack.toml").exists()


# ------------------------------------------------------------------------------------------------------- the doctor


def machine(tmp_path: Path, **changes: object) -> Machine:
    values: dict[str, object] = {
        "root": tmp_path,
        "uid": 1000,
        "groups": frozenset(),
        "release": "5.10.0",
        "has_module": lambda name: False,
        "library": lambda name: None,
        "pcsc_socket": None,
    }
    return Machine(**{**values, **changes})  # type: ignore[arg-type]


def process(root: Path, pid: int, name: str) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")


def test_a_sick_machine_and_what_mends_it(tmp_path: Path) -> None:
    process(tmp_path, 42, "ModemManager")
    findings = {one.what: one for one in examine(None, machine(tmp_path))}
    for what, mend in {
        "the PC/SC library libpcsclite is missing": "apt install libpcsclite1",
        "the Python library pyscard is missing": "pip install 'esim-bench[pcsc]'",
        "the PC/SC service is not installed": "apt install pcscd",
        "you are not in the group dialout": "usermod -aG dialout",
        "ModemManager runs (pid 42)": "systemctl stop ModemManager",
        "the USB library libusb-1.0 is missing": "apt install libusb-1.0-0",
        "the udev rules are not installed": "70-esim-bench.rules",
        "PyVISA's pure-Python backend is missing": "esim-bench[scpi]",
    }.items():
        assert findings[what].ok is False, what
        assert findings[what].why, what
        assert mend in findings[what].mend, what
    assert findings["Linux 5.10.0 has no disable file for USB ports"].ok is None


def test_a_healthy_machine(tmp_path: Path) -> None:
    process(tmp_path, 7, "pcscd")
    process(tmp_path, 8, "ModemManager")
    rules = tmp_path / "etc/udev/rules.d/70-esim-bench.rules"
    rules.parent.mkdir(parents=True)
    rules.touch()
    disable = tmp_path / "sys/bus/usb/devices/1-0:1.0/usb1-port1/disable"
    disable.parent.mkdir(parents=True)
    disable.touch()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ttyUSB0").touch()
    healthy = machine(
        tmp_path,
        groups=frozenset(("dialout", "plugdev")),
        has_module=lambda name: True,
        library=lambda name: f"lib{name}.so",
    )
    findings = examine(None, healthy)
    assert [one.what for one in findings if one.ok is not True] == []


def test_a_service_that_is_installed_and_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/pcscd").touch()
    findings = {one.what: one for one in examine(None, machine(tmp_path))}
    assert "systemctl enable --now pcscd.socket" in findings["the PC/SC service is not running"].mend


def test_only_what_the_rack_needs_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(
        '[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n'
        'card = { driver = "pcsc", reader = "name:X" }\n'
    )
    findings = examine(load_rack(path), machine(tmp_path))
    assert all("serial" not in one.what and "USB" not in one.what for one in findings)
    assert any("PC/SC" in one.what for one in findings)


def test_the_doctor_ends_with_3_when_something_is_bad(monkeypatch, tmp_path, capsys) -> None:
    from esim_bench.rack import doctor

    monkeypatch.setattr(doctor, "Machine", lambda: machine(tmp_path))
    assert invoke(["rack", "doctor"]) == 3
    assert "mend it: sudo apt install pcscd" in capsys.readouterr().out
    assert invoke(["rack", "doctor", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False
