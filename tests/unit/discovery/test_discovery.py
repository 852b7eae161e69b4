"""What is plugged in, told together; a rack file of it that is good at once; and why something does not work."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from esim_bench.cli.main import invoke
from esim_bench.errors import TransportError
from esim_bench.ports import FoundDevice
from esim_bench.rack import discovery, locks
from esim_bench.rack.check import check
from esim_bench.rack.discovery import Found, group
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


def test_udev_rules_give_each_port_a_link_of_its_own_called_after_its_slot() -> None:
    rules = udev_rules(group([EG25, READER]))
    links = {}
    for rule in rules.splitlines():
        if (link := re.search(r'SYMLINK\+="esim-bench/(.+)"', rule)) is not None:
            place = re.search(r'KERNELS=="(.+?)"', rule)
            assert place is not None
            assert link[1] not in links
            links[link[1]] = place[1]
    assert links == {"M1": "1-1.3:1.2", "M1-if0": "1-1.3:1.0"}
    assert 'KERNEL=="1-1.3", ENV{ID_MM_DEVICE_IGNORE}="1"' in rules
    assert "1-2" not in rules


def test_udev_rules_give_relays_and_supplies_to_the_group() -> None:
    relay = FoundDevice("relay", "HID relay", {"driver": "relay-hid", "serial": "B", "channel": 1}, usb="1-1.2")
    assert 'KERNEL=="1-1.2", GROUP="plugdev", MODE="0660"' in udev_rules(group([relay]))


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


def test_a_driver_that_breaks_in_its_own_way_holds_up_no_other(plugged_in) -> None:
    plugged_in(theirs=ZeroDivisionError("division by zero"), at=[EG25])
    result = asyncio.run(discovery.discover())
    assert [one.device.name for one in result.found] == ["Quectel EG25"]
    assert result.troubles == {"theirs": "ZeroDivisionError: division by zero"}


# ------------------------------------------------------------------------------------------- what belongs together


def adapter(interface: int, kind: Literal["module", "port"], name: str) -> FoundDevice:
    table = {"driver": "at", "port": f"usb:1-1.2:1.{interface}"}
    return FoundDevice(kind, name, table, usb="1-1.2", details={"adapter": "ftdi_sio"})


def test_modules_at_the_ports_of_one_adapter_are_two_and_no_hub_port_is_theirs(tmp_path: Path) -> None:
    found = group([HUB, adapter(0, "module", "u-blox"), adapter(1, "module", "Nordic"), adapter(2, "port", "FT4232")])
    assert [(one.device.name, one.power) for one in found if one.device.kind != "hub"] == [
        ("u-blox", None),
        ("Nordic", None),
        ("FT4232", None),
    ]
    rules = udev_rules(found)
    assert [f"esim-bench/{name}" in rules for name in ("M1", "M2", "P1")] == [True, True, True]
    path = tmp_path / "rack.toml"
    path.write_text(rack_file(found, "lab") or "")
    assert [slot.name for slot in load_rack(path).slots] == ["M1", "M2"]


def test_a_root_hub_feeds_what_hangs_on_it_and_a_gang_is_no_switch_of_one(tmp_path: Path) -> None:
    gang = replace(HUB, usb="usb1", table={**HUB.table, "location": "usb1"}, trouble="switches all its ports together")
    found = group([gang, READER])
    assert found[0].power == {"driver": "usb-hub", "location": "usb1", "port": 2}
    assert found[0].power_trouble == "switches all its ports together"
    assert "not as it is: the hub switches all its ports together" in (rack_file(found, "lab") or "")


def test_places_are_sorted_as_people_count() -> None:
    readers = [
        FoundDevice("reader", f"reader at {place}", {"driver": "pcsc", "reader": f"usb:{place}"}, usb=place)
        for place in ("1-1.10", "1-1.9", "1-2")
    ]
    assert [one.device.usb for one in group(readers)] == ["1-1.9", "1-1.10", "1-2"]


def test_a_device_cannot_write_into_the_rack_file_by_its_name(tmp_path: Path) -> None:
    evil = replace(
        READER, name='x\n[network]\nproxy = "http://evil"\x7f"', table={**READER.table, "reader": "name:\x7f"}
    )
    text = rack_file(group([evil, replace(SNIFFER, name="a\nb"), replace(STRANGER, name="c\nd", details={})]), "lab")
    path = tmp_path / "rack.toml"
    path.write_text(text or "")
    rack = load_rack(path)
    assert rack.network.proxy == "environment"
    assert len(rack.slots) == 2


# ------------------------------------------------------------------------------------------------------- asking


class Asking:
    """A driver with two ports; tells which it asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def discover(self) -> list[FoundDevice]:
        return await self.look(lambda port: None)

    async def look(self, leave_alone) -> list[FoundDevice]:
        return [await self.probe_port(f"usb:1-1.3:1.{number}", leave_alone) for number in (1, 2)]

    async def probe_port(self, port: str, leave_alone) -> FoundDevice:
        if port == "/dev/ttyS9":
            raise TransportError("no such port")
        found = FoundDevice("port", port, {"driver": "at", "port": port}, paths=(f"/dev/of-{port[-1]}",))
        why = leave_alone(found)
        if why is None:
            self.asked.append(port)
        return replace(found, trouble=why or None)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    driver = Asking()
    monkeypatch.setattr(discovery, "entry_points", lambda group: [Point("at")])
    monkeypatch.setattr(discovery, "load_driver", lambda name: driver)
    return driver


def test_no_port_is_asked_without_probing(asking, capsys) -> None:
    assert invoke(["rack", "discover", "--no-probe", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["trouble"]) for one in document["devices"]] == [
        ("usb:1-1.3:1.1", None),
        ("usb:1-1.3:1.2", None),
    ]
    assert asking.asked == []


def test_a_port_that_a_run_has_locked_is_not_asked(asking) -> None:
    held = locks.take(["usb:1-1.3:1.2"], slot="M1")
    result = asyncio.run(discovery.discover())
    held.release()
    assert asking.asked == ["usb:1-1.3:1.1"]
    (locked,) = [one.device for one in result.found if one.device.trouble]
    assert locked.name == "usb:1-1.3:1.2"
    assert "as slot M1" in (locked.trouble or "")


def test_a_port_that_is_named_and_found_is_asked_once_and_one_that_is_not_there_is_told(asking) -> None:
    ports = ["usb:1-1.3:1.2", "/dev/of-1", "/dev/ttyS1", "/dev/ttyS1", "/dev/ttyS9"]
    result = asyncio.run(discovery.discover(ports))
    assert asking.asked == ["usb:1-1.3:1.1", "usb:1-1.3:1.2", "/dev/ttyS1"]
    assert result.troubles == {"/dev/ttyS9": "no such port"}
