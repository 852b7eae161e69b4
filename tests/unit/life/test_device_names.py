"""What two rack files call the same device has a name in common; what is not the same has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esim_bench.rack.devices import devices
from esim_bench.rack.model import SlotSpec, load_rack


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A reader at 1-1.2, a module with two ports at 1-1.3, a serial adapter with two ports at 1-1.4."""
    folder = tmp_path / "bus/usb/devices"
    for name, serial in (("1-1.2", "READER7"), ("1-1.3", "MODULE9"), ("1-1.4", "0001"), ("1-1.5", "0001")):
        (folder / name).mkdir(parents=True)
        (folder / name / "serial").write_text(serial + "\n")
    for interface, driver, tty in (
        ("1-1.3:1.2", "option", "ttyUSB2"),
        ("1-1.3:1.3", "option", "ttyUSB3"),
        ("1-1.4:1.0", "ftdi_sio", "ttyUSB4"),
        ("1-1.4:1.1", "ftdi_sio", "ttyUSB5"),
    ):
        (folder / interface / tty).mkdir(parents=True)
        (folder / interface / "driver").symlink_to(f"../../../../bus/usb/drivers/{driver}")
        (tmp_path / "class/tty" / tty).mkdir(parents=True)
        (tmp_path / "class/tty" / tty / "device").symlink_to(folder / interface / tty)
    return tmp_path


def names(root: Path, **tables: Any) -> set[str]:
    spec = SlotSpec.model_validate(
        {"name": "A1", "form_factor": "4FF", "card": {"driver": "pcsc", "reader": "name:other*"}} | tables
    )
    return set(devices(spec, root)) - ({"name:other*"} if "card" not in tables else set())


def reader(root: Path, name: str) -> set[str]:
    return names(root, card={"driver": "pcsc", "reader": name})


def port(root: Path, name: str) -> set[str]:
    return names(root, modem={"driver": "at", "port": name})


def power(root: Path, **table: Any) -> set[str]:
    return names(root, power=table)


def test_a_reader_by_place_and_by_serial_number(sysfs: Path) -> None:
    assert reader(sysfs, "usb:1-1.2") == reader(sysfs, "serial:READER7") == {"usb:1-1.2", "serial:READER7"}
    assert not reader(sysfs, "usb:1-1.2") & reader(sysfs, "usb:1-1.3")


def test_a_serial_number_that_clones_share_names_none_of_them(sysfs: Path) -> None:
    assert reader(sysfs, "serial:0001") == {"serial:0001"}
    assert reader(sysfs, "usb:1-1.4") == {"usb:1-1.4"}


def test_all_ports_of_a_module_are_one_device(sysfs: Path) -> None:
    assert port(sysfs, "usb:1-1.3:1.2") & port(sysfs, "usb:1-1.3:1.3")
    assert port(sysfs, "/dev/ttyUSB2") & port(sysfs, "usb:1-1.3:1.3")


def test_the_ports_of_a_serial_adapter_are_devices_of_their_own(sysfs: Path) -> None:
    assert not port(sysfs, "usb:1-1.4:1.0") & port(sysfs, "usb:1-1.4:1.1")
    assert port(sysfs, "/dev/ttyUSB5") & port(sysfs, "usb:1-1.4:1.1")


def test_what_is_not_plugged_in_keeps_the_name_of_its_place(sysfs: Path) -> None:
    assert port(sysfs, "usb:3-2:1.0") == {"usb:3-2:1.0"}


def test_links_lead_to_the_device(sysfs: Path, tmp_path: Path) -> None:
    target = tmp_path / "pty"
    target.write_text("")
    (tmp_path / "link").symlink_to(target)
    assert port(sysfs, str(tmp_path / "link")) == port(sysfs, str(target))


def test_a_hub_is_shared_but_its_port_is_not(sysfs: Path) -> None:
    one, two = (power(sysfs, driver="usb-hub", location="1-1", port=number, off_s=2.0) for number in (1, 2))
    assert one == {"usb:1-1 port 1"}
    assert not one & two
    assert one == power(sysfs, driver="usb-hub", location="1-1", port=1, proof="none")


def test_a_relay_board_is_shared_but_its_channel_is_not(sysfs: Path) -> None:
    one, two = (power(sysfs, driver="relay-lcus", port="usb:1-1.4", channel=number) for number in (1, 2))
    assert one
    assert not one & two


def test_a_supply_by_its_resource(sysfs: Path) -> None:
    assert power(sysfs, driver="scpi", resource="tcpip::10.0.0.7::INSTR", channel=1) == {
        "visa:TCPIP::10.0.0.7::INSTR channel 1"
    }


def test_a_switch_without_a_device_of_its_own_and_one_of_an_unknown_kind(sysfs: Path) -> None:
    modem = {"driver": "at", "port": "usb:3-2:1.0"}
    assert names(sysfs, modem=modem, power={"driver": "modem-power", "line": "dtr"}) == {"usb:3-2:1.0"}
    assert power(sysfs, driver="ours", board=4) == {'ours {"board": 4}'}


def test_simulated_slots_have_no_devices() -> None:
    assert [devices(slot) for slot in load_rack("sim-3").slots] == [()] * 3
