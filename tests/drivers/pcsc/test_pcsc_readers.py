"""Which reader a rack file means, what it may say, and what each return code of PC/SC means."""

import random
from types import SimpleNamespace

import pytest

from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, InUseError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import CardDriver, DiscoveringDriver, load_driver
from esim_drivers.pcsc import failures, readers
from esim_drivers.pcsc.library import Failure
from esim_drivers.pcsc.options import Options

OMNIKEY = "HID Global OMNIKEY 3x21 Smart Card Reader [OMNIKEY 3x21 Smart Card Reader]"


@pytest.fixture
def sysfs(tmp_path):
    """Return the maker of USB devices in a folder that looks like /sys."""

    def plug(place, address, product, serial="", kind="0b"):
        folder = tmp_path / "bus/usb/devices" / place
        (folder / f"{place}:1.0").mkdir(parents=True)
        (folder / f"{place}:1.0" / "bInterfaceClass").write_text(f"{kind}\n")
        values = {"busnum": place[0], "devnum": address, "product": product, "serial": serial, "manufacturer": "HID"}
        for name, value in values.items():
            if value:
                (folder / name).write_text(f"{value}\n")
        return tmp_path

    return plug


def nobody_tells(name):
    return None


def test_identical_readers_are_told_apart_by_where_they_hang(sysfs):
    sysfs("1-1.2", 7, "OMNIKEY 3x21 Smart Card Reader")
    root = sysfs("1-1.3", 9, "OMNIKEY 3x21 Smart Card Reader")
    names = [f"{OMNIKEY} 00 00", f"{OMNIKEY} 01 00"]
    channels = {names[0]: 0x00200109, names[1]: 0x00200107}
    assert readers.choose(names, "usb:1-1.2", None, channels.get, root) == names[1]
    assert readers.choose(names, "usb:1-1.3", None, channels.get, root) == names[0]
    # One of them is in use and can't be asked: it must be the other one.
    del channels[names[1]]
    assert readers.choose(names, "usb:1-1.2", None, channels.get, root) == names[1]
    with pytest.raises(readers.NotThere) as error:
        readers.choose(names, "usb:1-1.2", None, nobody_tells, root)
    assert "several suit" in error.value.why


def test_a_serial_number_is_found_in_the_name_or_in_the_kernels_tree(sysfs):
    root = sysfs("1-2", 4, "OMNIKEY 3x21 Smart Card Reader", serial="A77")
    sysfs("1-3", 5, "uTrust 3700", serial="B1")
    named = f"{OMNIKEY} (A77) 00 00"
    assert readers.choose([named, "Other 01 00"], "serial:A77", None, nobody_tells, root) == named
    plain = "Identiv uTrust 3700 [CCID] 00 00"
    assert readers.choose([plain], "serial:B1", None, {plain: 0x00200105}.get, root) == plain
    with pytest.raises(readers.NotThere):
        readers.choose([named], "serial:A7", None, nobody_tells, root)


@pytest.mark.parametrize(
    ("selector", "slot", "expected"),
    [
        ("name:Bench A", None, "Bench A 00 00"),
        ("name:Bench A 00 01", None, "Bench A 00 01"),
        ("name:Bench A", 1, "Bench A 00 01"),
        ("name:*B*B", None, "Bench B 01 00"),
        (f"name:{OMNIKEY} (1) 02 00", None, f"{OMNIKEY} (1) 02 00"),
    ],
)
def test_names_are_patterns_with_or_without_the_numbers_behind_them(selector, slot, expected):
    names = ["Bench A 00 00", "Bench A 00 01", "Bench B 01 00", f"{OMNIKEY} (1) 02 00"]
    assert readers.choose(names, selector, slot, nobody_tells) == expected


def test_without_a_selector_there_must_be_one_reader():
    assert readers.choose(["Only 00 00"], None, None, nobody_tells) == "Only 00 00"
    with pytest.raises(readers.NotThere, match="SCardListReaders"):
        readers.choose([], None, None, nobody_tells)
    with pytest.raises(readers.NotThere) as error:
        readers.choose(["One 00 00", "Other 01 00"], None, None, nobody_tells)
    assert error.value.why == "several suit: One 00 00, Other 01 00"


def test_a_place_without_a_reader_says_what_is_there(sysfs):
    root = sysfs("1-1.4", 3, "Quectel EG25-G", kind="ff")
    with pytest.raises(readers.NotThere) as error:
        readers.choose(["Bench 00 00"], "usb:1-1.4", None, nobody_tells, root)
    assert error.value.why == "Quectel EG25-G there is no reader of the PC/SC service"
    with pytest.raises(readers.NotThere) as error:
        readers.choose(["Bench 00 00"], "usb:1-9", None, nobody_tells, root)
    assert error.value.why == "nothing is plugged in there"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reader", "OMNIKEY"),
        ("reader", "usb:1"),
        ("reader", "name: "),
        ("reader", 7),
        ("protocol", "T=2"),
        ("get_response", "me"),
        ("exclusive", "yes"),
        ("reset", "hot"),
        ("on_close", "eject"),
        ("wait_s", -1),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("card_wait_s", True),
        ("max_data", 256),
        ("slot", -1),
        ("speed", 9600),
    ],
)
def test_a_table_that_cannot_be_is_refused_naming_slot_and_key(key, value):
    with pytest.raises(ConfigError) as error:
        Options.parse({key: value}, "slot A1: card")
    assert "slot A1: card" in str(error.value)
    assert (key if key != "speed" else "unknown key") in str(error.value)


def test_the_driver_opens_a_card_without_touching_anything():
    driver = load_driver("pcsc")
    assert isinstance(driver, CardDriver)
    assert isinstance(driver, DiscoveringDriver)
    context = SimpleNamespace(slot="A1", sink=NullSink(), rng=random.Random(1))
    link = driver.open_card({"reader": "usb:1-1.2", "max_data": 120}, context)
    assert link.capabilities.max_data == 120
    assert link.capabilities.raw_channels
    assert link.capabilities.resets_card
    assert link.capabilities.removable is None


def test_a_protocol_that_is_lost_in_the_middle_is_a_service_that_has_gone():
    error = failures.explain(Failure(0x8010000F, "SCardTransmit"), reader="slot A1")
    assert type(error) is TransportError
    assert "connect again" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (0x8010001D, TransportError, "systemctl start pcscd.socket"),
        (0x8010002E, TransportError, "libccid"),
        (0x8010000C, TransportError, "insert the card"),
        (0x80100069, TransportError, "insert the card and connect again"),
        (0x80100066, DeviceTimeout, "right way round"),
        (0x8010006A, ConfigError, "polkit"),
        (0x80100016, TransportError, "connect again"),
        (0x8010000B, InUseError, "end that program"),
        (0x8010000F, ConfigError, 'protocol = "auto"'),
        (0x80100001, TransportError, "pcscd --foreground --debug"),
    ],
)
def test_each_return_code_is_a_typed_error_that_says_what_to_do(code, kind, advice):
    error = failures.explain(Failure(code - (1 << 32), "SCardConnect"), reader="slot A1")
    assert type(error) is kind
    assert isinstance(error, BenchError)
    assert advice in str(error)
    assert f"{code:08X}" in str(error)
