"""What lint finds, each in a package that is right otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.saip import ProfilePackage, encode_element
from esim_bench.codec.saip.lint import Finding, lint
from esim_bench.errors import CodecError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "operational-a.der"

Elements = list[tuple[str, dict[str, Any]]]


def elements() -> Elements:
    return [(element.kind, dict(element.value)) for element in ProfilePackage.parse(GOLDEN.read_bytes()).elements]


def found(parts: Elements) -> list[Finding]:
    return lint(ProfilePackage.parse(b"".join(encode_element(kind, value) for kind, value in parts)))


def messages(parts: Elements) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.kind, finding.message) for finding in found(parts)]


def place(parts: Elements, kind: str) -> int:
    return next(index for index, (name, _) in enumerate(parts) if name == kind)


def moved(parts: Elements, kind: str, before: str) -> Elements:
    part = parts.pop(place(parts, kind))
    parts.insert(place(parts, before), part)
    return parts


def test_the_golden_package_is_clean() -> None:
    assert found(elements()) == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        # It asks for javacard but has no applet, and has EF.NASCONFIG without service 96.
        ("v1", ["service-unused", "ust-service"]),
        ("v5", ["ust-service"]),
    ],
)
def test_the_gsma_test_profiles_have_no_errors(version: str, expected: list[str], ts48: Callable[[str], Path]) -> None:
    findings = lint(ProfilePackage.parse(ts48(version).read_bytes()))
    assert [each.rule for each in findings] == expected
    assert all(each.severity != "error" for each in findings)


def test_puks_come_before_the_pins_they_unblock() -> None:
    assert messages(moved(elements(), "pukCodes", "telecom")) == [
        ("error", "pinCodes", "PIN 1 needs PUK 1, which comes later")
    ]


def test_what_belongs_to_an_application_comes_after_it() -> None:
    shown = messages(moved(elements(), "opt-usim", "usim"))
    assert ("error", "opt-usim", "too early: expected after usim, found before") in shown


def test_rfm_needs_a_security_domain() -> None:
    parts = elements()
    del parts[place(parts, "securityDomain")]
    assert messages(parts) == [("error", "rfm", "too early: expected after securityDomain, found before")] * 2


def test_once_is_enough() -> None:
    parts = elements()
    value = parts[place(parts, "gsm-access")][1] | {"gsm-access-header": {"mandated": None, "identification": 99}}
    parts.insert(place(parts, "gsm-access"), ("gsm-access", value))
    assert ("error", "gsm-access", "second gsm-access: expected at most one") in messages(parts)


def test_a_second_usim_needs_a_service() -> None:
    parts = elements()
    value = parts[place(parts, "usim")][1] | {"usim-header": {"mandated": None, "identification": 99}}
    parts.insert(place(parts, "securityDomain"), ("usim", value))
    expected = ("error", "usim", "second usim: expected multiple-usim among the mandatory services")
    assert expected in messages(parts)
    assert ("warning", "usim", "application without akaParameter: it can't authenticate") in messages(parts)


def test_identifications_are_unique() -> None:
    parts = elements()
    parts[-1][1]["end-header"] = {"mandated": None, "identification": 5}
    assert messages(parts) == [("error", "end", "identification 5 is that of element 5 (usim) already")]


def test_an_element_that_is_not_mandated_may_be_skipped() -> None:
    parts = elements()
    parts[-1][1]["end-header"] = {"identification": 77}
    (only,) = found(parts)
    assert (only.severity, only.index, only.kind, only.identification) == ("note", len(parts) - 1, "end", 77)


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ({"milenage": None}, ("error", "header", "the package has usim, but the mandatory services lack usim")),
        ({"usim": None}, ("error", "akaParameter", "algorithm 1, but the mandatory services lack milenage")),
        (
            {"usim": None, "milenage": None, "csim": None},
            ("warning", "header", "mandatory service csim, but nothing in the package uses it"),
        ),
    ],
)
def test_the_header_promises_services(services: dict[str, None], expected: tuple[str, str, str]) -> None:
    parts = elements()
    parts[0][1]["eUICC-Mandatory-services"] = services
    assert messages(parts) == [expected]


def test_the_header_promises_templates() -> None:
    parts = elements()
    templates = parts[0][1]["eUICC-Mandatory-GFSTEList"]
    parts[0][1]["eUICC-Mandatory-GFSTEList"] = [*templates[:-1], "2.23.143.1.2.12"]
    assert messages(parts) == [
        ("warning", "header", "template 2.23.143.1.2.12 is in eUICC-Mandatory-GFSTEList, but no element uses it"),
        ("error", "gsm-access", "template 2.23.143.1.2.7 is not in eUICC-Mandatory-GFSTEList"),
    ]


def test_keys_have_their_sizes() -> None:
    parts = elements()
    choice, algorithm = parts[place(parts, "akaParameter")][1]["algoConfiguration"]
    parts[place(parts, "akaParameter")][1]["algoConfiguration"] = (choice, algorithm | {"opc": b"\x00"})
    assert messages(parts) == [("error", "akaParameter", "OPc: expected 16 bytes, found 1")]


def test_ef_iccid_and_header_agree() -> None:
    parts = elements()
    parts[place(parts, "mf")][1]["ef-iccid"] = [("fillFileContent", bytes(10))]
    ((severity, kind, message),) = messages(parts)
    assert (severity, kind) == ("warning", "mf")
    assert message == (
        "EF.ICCID: not the ICCID of the header: expected 988812010000000010F1, found 00000000000000000000"
    )


def test_access_rules_are_there() -> None:
    parts = elements()
    reference = ("fileDescriptor", {"securityAttributesReferenced": b"\x6f\x06\x20"})
    parts[place(parts, "usim")][1]["ef-keys"] = [reference]
    assert messages(parts) == [
        ("error", "usim", "ef-keys (3F00/7FD0/6F08): access rule 32 of 3F00/7FD0/6F06 is not there")
    ]


def test_content_that_does_not_fit_its_file() -> None:
    parts = elements()
    parts[place(parts, "usim")][1]["ef-imsi"] = [("fillFileContent", bytes(10))]
    ((severity, kind, message),) = messages(parts)
    assert (severity, kind) == ("error", "usim")
    assert "content does not fit the file" in message


def test_local_pins_do_not_belong_to_the_mf() -> None:
    parts = elements()
    choice, pins = parts[place(parts, "pinCodes")][1]["pinCodes"]
    pins = [*pins, {"keyReference": 129, "pinValue": b"0000" + b"\xff" * 4}]
    parts[place(parts, "pinCodes")][1]["pinCodes"] = (choice, pins)
    assert messages(parts) == [("error", "pinCodes", "key reference: expected 1 to 8 or 10 to 14 in the MF, found 129")]


def test_an_element_that_cannot_be_decoded_is_a_finding() -> None:
    package = ProfilePackage.parse(GOLDEN.read_bytes())
    raw = [element.raw for element in package.elements]
    # A PIN element without PINs.
    index = next(element.index for element in package.elements if element.kind == "pinCodes")
    raw[index] = bytes.fromhex("A207A00580008101") + b"\x03"
    (only,) = lint(ProfilePackage.parse(b"".join(raw)))
    assert (only.severity, only.index, only.kind) == ("error", index, "pinCodes")
    assert only.message.startswith("cannot be decoded: ")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOLDEN.read_bytes()) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_can_be_parsed_can_be_checked(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(GOLDEN.read_bytes())
    for at, value in changes:
        raw[at] = value
    try:
        package = ProfilePackage.parse(bytes(raw), ordered=False)
    except CodecError:
        return
    for finding in lint(package):
        assert finding.message
