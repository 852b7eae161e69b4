"""The kernel's tree of USB devices: where things hang, what they are called now, who has them open."""

import pytest

from esim_bench.errors import ConfigError, TransportError
from esim_drivers.usbtree import UsbTree, check_port_name, holders, natural, parent_of, resolve_port


def test_a_module_its_interfaces_and_their_ports(fake, module) -> None:
    module("1-1.3")
    (device,) = UsbTree(fake.sys, fake.dev).devices()
    assert (device.place, device.bus, device.address) == ("1-1.3", 1, 7)
    assert (device.vendor, device.product_id, device.name) == (0x2C7C, 0x0125, "Quectel EG25-G")
    assert device.parent == ("1-1", 3)
    assert [(one.name, one.ttys) for one in device.interfaces] == [
        ("1-1.3:1.0", ("ttyUSB0",)),
        ("1-1.3:1.1", ("ttyUSB1",)),
        ("1-1.3:1.2", ("ttyUSB2",)),
        ("1-1.3:1.3", ("ttyUSB3",)),
    ]
    assert not any(one.adapter for one in device.interfaces)
    assert UsbTree(fake.sys, fake.dev).node("ttyUSB2") == str(fake.dev / "ttyUSB2")


def test_an_adapters_ports_are_wired_to_something_else(fake) -> None:
    fake.plug("1-2", "Quad RS232-HS")
    fake.interface("1-2:1.0", driver="ftdi_sio", tty="ttyUSB0")
    device = UsbTree(fake.sys).device("1-2")
    assert device is not None
    assert device.interfaces[0].adapter


def test_hubs_hid_devices_and_cdc_ports(fake) -> None:
    fake.plug("1-1", "4-Port Hub", kind="09")
    fake.plug("1-1.2", "USBRelay2")
    fake.interface("1-1.2:1.0", kind="03", driver="usbhid", hidraw="hidraw4")
    fake.plug("1-1.4", "Thingy")
    fake.interface("1-1.4:1.0", kind="02", driver="cdc_acm", tty="ttyACM0")
    hub, relay, modem = UsbTree(fake.sys).devices()
    assert (hub.is_hub, relay.is_hub) == (True, False)
    assert relay.interfaces[0].hidraws == ("hidraw4",)
    assert modem.interfaces[0].ttys == ("ttyACM0",)


def test_devices_are_sorted_as_people_count(fake) -> None:
    for place in ("1-1.10", "1-1.9", "10-1", "2-1"):
        fake.plug(place)
    assert [one.place for one in UsbTree(fake.sys).devices()] == ["1-1.9", "1-1.10", "2-1", "10-1"]
    assert natural("ttyUSB9") < natural("ttyUSB10")


def test_a_device_by_its_address_and_by_its_serial_number(fake) -> None:
    fake.plug("1-1.2", "Reader", address=9, serial="A77")
    fake.plug("1-1.3", "CP2102", address=10, serial="0001")
    fake.plug("1-1.4", "CP2102", address=11, serial="0001")
    tree = UsbTree(fake.sys)
    at_nine = tree.at_address(1, 9)
    assert at_nine is not None
    assert at_nine.place == "1-1.2"
    assert tree.at_address(1, 99) is None
    assert [one.place for one in tree.by_serial("A77")] == ["1-1.2"]
    assert len(tree.by_serial("0001")) == 2
    assert tree.by_serial("") == []


def test_no_usb_at_all(tmp_path) -> None:
    tree = UsbTree(tmp_path)
    assert tree.devices() == []
    assert tree.device("1-1") is None
    assert tree.device("../../etc") is None


@pytest.mark.parametrize(
    ("place", "parent"),
    [("1-1.3", ("1-1", 3)), ("1-1.3.2", ("1-1.3", 2)), ("2-4", ("usb2", 4)), ("10-12", ("usb10", 12))],
)
def test_the_hub_above(place: str, parent: tuple[str, int]) -> None:
    assert parent_of(place) == parent


def test_a_port_keeps_its_name_when_its_number_moves(fake, module) -> None:
    module("1-1.3")
    assert resolve_port("usb:1-1.3:1.2", devices=fake.devices) == "/dev/ttyUSB2"
    (fake.devices / "1-1.3:1.2/ttyUSB2").rename(fake.devices / "1-1.3:1.2/ttyUSB9")
    assert resolve_port("usb:1-1.3:1.2", devices=fake.devices) == "/dev/ttyUSB9"
    with pytest.raises(TransportError, match="no such USB interface"):
        resolve_port("usb:1-1.4:1.2", devices=fake.devices)


@pytest.mark.parametrize("name", ["usb:1-1.3:1.2/../../x", "usb:1-1.3:1.2\n", "usb:..", "COM3"])
def test_what_is_no_name_of_a_port(name: str) -> None:
    with pytest.raises(ConfigError):
        check_port_name(name)


def test_who_has_a_node_open(fake, module) -> None:
    module("1-1.3")
    fake.process(812, "ModemManager", "/dev/ttyUSB2", "/dev/ttyUSB3")
    fake.process(9, "minicom", "/dev/ttyUSB0")
    assert holders(str(fake.dev / "ttyUSB2"), fake.proc) == ["ModemManager (pid 812)"]
    assert holders(str(fake.dev / "ttyUSB1"), fake.proc) == []
