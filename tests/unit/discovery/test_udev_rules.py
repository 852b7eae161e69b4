"""The udev rules that come with the bench: well-formed, and for all devices that its drivers know."""

import re

import pytest

from esim_bench import data
from esim_drivers.relay import hid
from esim_drivers.simtrace.device import PRODUCT, VENDOR

RULES = data.root() / "hw/udev/70-esim-bench.rules"
KEY = re.compile(r'([A-Z]+(?:\{[\w/]+\})?)(==|!=|\+=|=)"((?:[^"\\]|\\.)*)"')
MATCHES = {"ACTION", "SUBSYSTEM", "ATTR", "ENV", "TEST", "KERNEL", "KERNELS", "SUBSYSTEMS"}
ASSIGNS = {"GOTO", "LABEL", "ENV", "ATTR", "GROUP", "MODE", "RUN", "SYMLINK"}


def parsed(text: str) -> list[list[tuple[str, str, str]]]:
    rules = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        parts = re.split(r',\s*(?=[A-Z]+(?:\{[\w/]+\})?(?:==|!=|\+=|=)")', line)
        keys = [KEY.fullmatch(part) for part in parts]
        assert all(keys), line
        rules.append([(key[1], key[2], key[3]) for key in keys if key is not None])
    return rules


@pytest.fixture(scope="module")
def rules() -> list[list[tuple[str, str, str]]]:
    return parsed(RULES.read_text())


def test_every_key_is_one_that_udev_knows(rules) -> None:
    for rule in rules:
        for key, operator, _ in rule:
            name = key.partition("{")[0]
            assert name in (MATCHES if operator in ("==", "!=") else ASSIGNS), key


def test_every_goto_has_its_label_further_down(rules) -> None:
    labels = {value: number for number, rule in enumerate(rules) for key, _, value in rule if key == "LABEL"}
    gotos = [(number, value) for number, rule in enumerate(rules) for key, _, value in rule if key == "GOTO"]
    assert gotos
    assert all(labels[value] > number for number, value in gotos)


def test_relays_and_sniffers_belong_to_the_group(rules) -> None:
    def given(vendor: int, product: int) -> bool:
        wanted = {("ATTR{idVendor}", "==", f"{vendor:04x}"), ("ATTR{idProduct}", "==", f"{product:04x}")}
        return any(wanted <= set(rule) and ("GROUP", "=", "plugdev") in rule for rule in rules)

    assert all(given(*ids) for ids in [*hid.BOARDS, (VENDOR, PRODUCT)])
    assert not given(0x1234, 0x5678)


def test_modem_manager_keeps_off_modules(rules) -> None:
    marked = [rule for rule in rules if ("ENV{ID_ESIM_BENCH_MODULE}", "=", "1") in rule]
    assert len(marked) >= 10
    (kept,) = [rule for rule in rules if ("ENV{ID_MM_DEVICE_IGNORE}", "=", "1") in rule]
    assert ("ENV{ID_ESIM_BENCH_MODULE}", "==", "1") in kept
    # What marks them stands before what looks for the mark.
    assert rules.index(kept) > max(rules.index(rule) for rule in marked)
