"""The fake USB bus is to pyusb what libusb is."""

import errno

import pytest
import usb.core
import usb.util

from esim_drivers.sim.usb_backend import FakeDevice, FakeEndpoint, FakeInterface, FakeUsb, Silence


class Echo(FakeDevice):
    """Gives back what was written to it."""

    kept = b""

    def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
        return bytes((request, value, index))[:length]

    def write(self, endpoint: int, data: bytes, timeout_ms: int) -> int:
        self.kept += data
        return len(data)

    def read(self, endpoint: int, size: int, timeout_ms: int) -> bytes:
        if not self.kept:
            raise Silence
        data, self.kept = self.kept[:size], self.kept[size:]
        return data


def echo(path: str = "1-1.4") -> Echo:
    both = (FakeEndpoint(0x01), FakeEndpoint(0x82))
    return Echo(
        path,
        0x1D50,
        0x60E3,
        product_name="Echo",
        serial="E1",
        interfaces=(FakeInterface(0, endpoints=both, name="way", kernel_driver=True),),
    )


def test_descriptors_and_strings() -> None:
    device = usb.core.find(idVendor=0x1D50, backend=FakeUsb([echo()]))
    assert (device.bus, device.port_numbers, device.product, device.serial_number) == (1, (1, 4), "Echo", "E1")
    interface = device.get_active_configuration()[(0, 0)]
    assert usb.util.get_string(device, interface.iInterface) == "way"
    assert [endpoint.bEndpointAddress for endpoint in interface] == [0x01, 0x82]


def test_transfers_and_claims() -> None:
    bus = FakeUsb([echo()])
    device = usb.core.find(idProduct=0x60E3, backend=bus)
    assert bytes(device.ctrl_transfer(0xC0, 5, 6, 7, 8)) == bytes((5, 6, 7))
    with pytest.raises(usb.core.USBError) as busy:
        device.write(0x01, b"hello")
    assert busy.value.errno == errno.EBUSY
    assert device.is_kernel_driver_active(0)
    device.detach_kernel_driver(0)
    assert device.write(0x01, b"hello") == 5
    assert bytes(device.read(0x82, 64)) == b"hello"
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(0x82, 64)
    assert bus.log == [("1-1.4", 0xC0, 5, 6, 7, b"")]
    usb.util.dispose_resources(device)


def test_a_device_that_goes_and_one_that_may_not_be_opened() -> None:
    bus = FakeUsb([echo(), echo("1-1.4.1"), echo("2-1")])
    device = usb.core.find(backend=bus, port_numbers=(1, 4))
    device.ctrl_transfer(0xC0, 5, 6, 7, 8)
    bus.unplug("1-1.4")
    assert [one.path for one in bus.enumerate_devices()] == ["2-1"]
    with pytest.raises(usb.core.USBError) as gone:
        device.ctrl_transfer(0xC0, 5, 6, 7, 8)
    assert gone.value.errno == errno.ENODEV
    bus["2-1"].denied = errno.EACCES
    with pytest.raises(usb.core.USBError) as denied:
        usb.core.find(backend=bus).ctrl_transfer(0xC0, 5, 6, 7, 8)
    assert denied.value.errno == errno.EACCES
    usb.util.dispose_resources(device)
