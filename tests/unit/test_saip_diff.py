"""What ``package diff`` tells: by files and purposes, not by bytes; secrets stay hidden."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from esim_bench.codec.saip import ProfilePackage, encode_element
from esim_bench.codec.saip.describe import content_text, pin_name, rule_text
from esim_bench.codec.saip.diff import Change, diff
from esim_bench.codec.saip.files import FileSpec
from esim_bench.errors import CodecError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

Elements = list[tuple[str, dict[str, Any]]]


def golden(name: str = "operational-a") -> ProfilePackage:
    return ProfilePackage.parse((GOLDEN / f"{name}.der").read_bytes())


def changed(change: Callable[[dict[str, dict[str, Any]], Elements], None], **options: Any) -> list[Change]:
    """Return what differs after a change; it gets the elements by their kinds (the last of each), and in order."""
    parts: Elements = [(element.kind, deepcopy(element.value)) for element in golden().elements]
    change(dict(parts), parts)
    return diff(golden(), ProfilePackage.parse(b"".join(encode_element(*part) for part in parts)), **options)


def test_a_package_is_the_same_as_itself() -> None:
    assert diff(golden(), golden()) == []


def test_files_are_shown_in_words() -> None:
    found = {(c.where, c.what): (c.before, c.after) for c in diff(golden(), golden("operational-b"))}
    assert found["3F00/ADF.USIM/6F07 (ef-imsi)", "content"] == ("001010000000101", "999700000000201")
    assert found["3F00/2FE2 (ef-iccid)", "content"] == ("8988211000000000011", "8988211000000000029")
    assert found["3F00/ADF.USIM/6F62 (ef-hplmnwact)", "content"] == ("001-01 C080", "999-70 C080")
    assert found["3F00/ADF.USIM/6FB7 (ef-ecc)", "record 2"] == ("19F1FF00", None)
    assert found["header", "mandatory template 2.23.143.1.2.13"] == (None, "yes")
    assert found["3F00/ADF.USIM/5FC0 (df-df-5gs)", "file"] == (None, "DF")


def test_what_is_added_here_is_removed_there() -> None:
    there, back = diff(golden(), golden("operational-b")), diff(golden("operational-b"), golden())
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(c.where, c.what, c.change, c.before, c.after) for c in there} == {
        (c.where, c.what, turned[c.change], c.after, c.before) for c in back
    }


def test_secrets_only_differ() -> None:
    hidden = [c for c in diff(golden(), golden("operational-b")) if c.secret]
    assert {c.what.split(".")[-1] for c in hidden} == {"pinValue", "pukValue", "key", "opc", "keyData"}
    assert all(c.before is None and c.after is None for c in hidden)
    shown = diff(golden(), golden("operational-b"), secrets=True)
    keys = [c for c in shown if c.what.endswith(".key")]
    assert [(c.where, c.before) for c in keys] == [
        ("akaParameter of 3F00/ADF.USIM", "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF")
    ]


def test_a_pin_that_is_spelled_out_is_the_same_as_the_default() -> None:
    def spelled(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        # The PUKs have the default number of attempts.
        for puk in kinds["pukCodes"]["pukCodes"]:
            del puk["maxNumOfAttemps-retryNumLeft"]

    (only,) = changed(spelled)
    assert (only.where, only.what) == ("package", "encoding")


def test_a_pin_is_known_by_its_name_and_directory() -> None:
    def more(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        kinds["pinCodes"]["pinCodes"][1][0]["maxNumOfAttemps-retryNumLeft"] = 0x55

    assert changed(more) == [
        Change(
            "pinCodes of 3F00/ADF.USIM",
            "pinCodes.pinconfig[PIN2].maxNumOfAttemps-retryNumLeft",
            "changed",
            "51",
            "85",
        )
    ]


def test_the_number_of_an_access_rule_does_not_count_but_what_it_says() -> None:
    def other(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        kinds["opt-usim"]["ef-gid1"].insert(0, ("fileDescriptor", {"securityAttributesReferenced": b"\x6f\x06\x05"}))

    assert changed(other) == [
        Change(
            "3F00/ADF.USIM/6F3E (ef-gid1)",
            "access rule",
            "changed",
            "read: PIN1; update: ADM1; deactivate, activate, delete: ADM1",
            "read: PIN1; update: PIN1; deactivate, activate, delete: ADM1",
        )
    ]


def test_another_identifier_of_the_adf_is_another_spelling() -> None:
    def moved(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        kinds["usim"]["adf-usim"][0][1]["fileID"] = b"\x7f\xd1"

    (only,) = changed(moved)
    assert only.what == "encoding"


def test_elements_in_another_order() -> None:
    def swapped(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        index = [kind for kind, _ in parts].index("gsm-access")
        parts.insert(index - 1, parts.pop(index))

    (only,) = changed(swapped)
    assert only.what == "order of the elements"


def test_services_of_the_usim() -> None:
    def table(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        old = kinds["usim"]["ef-ust"][0][1]
        kinds["usim"]["ef-ust"] = [("fillFileContent", bytes((old[0] | 1, old[1] & 0xFD)) + old[2:])]

    assert changed(table) == [
        Change("3F00/ADF.USIM/6F38 (ef-ust)", "service table", "added", after="services 1"),
        Change("3F00/ADF.USIM/6F38 (ef-ust)", "service table", "removed", before="services 10"),
    ]


def test_the_gsma_test_profiles(ts48: Callable[[str], Path]) -> None:
    first, second = (ProfilePackage.parse(ts48(version).read_bytes()) for version in ("v1", "v5"))
    found = {(c.where, c.what): (c.before, c.after) for c in diff(first, second)}
    assert found["header", "version"] == ("2.1", "2.3")
    assert found["rfm A00000055910100001", "minimumSecurityLevel"] == ("06", "02")
    assert found["3F00/ADF.USIM/6F38 (ef-ust)", "service table"][1] == (
        "services 122, 123, 124, 125, 126, 127, 129, 133"
    )
    assert ("df-5gs", "element") in found
    # Same keys of the USIM, same ICCID and IMSI.
    assert not [key for key in found if key[0].startswith("aka")]
    assert ("3F00/2FE2 (ef-iccid)", "content") not in found
    assert ("3F00/ADF.USIM/6F07 (ef-imsi)", "content") not in found


def test_files_that_cannot_be_made_cannot_be_compared() -> None:
    def too_much(kinds: dict[str, dict[str, Any]], parts: Elements) -> None:
        kinds["usim"]["ef-imsi"] = [("fillFileContent", bytes(10))]

    with pytest.raises(CodecError, match="content does not fit"):
        changed(too_much)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("80 01 01 90 00 80 01 02 A4 06 83 01 0A 95 01 08", "read: always; update: ADM1"),
        ("84 01 32 A4 06 83 01 81 95 01 08 FF FF", "increase: PIN2"),
        ("80 01 02 A0 10 A4 06 83 01 01 95 01 08 A4 06 83 01 81 95 01 08", "update: PIN1 or PIN2"),
        ("80 01 18 97 00", "deactivate, activate: never"),
        # Not an access rule: shown as it is.
        ("90 00", "9000"),
        ("", ""),
    ],
)
def test_access_rules_in_words(record: str, expected: str) -> None:
    assert rule_text(bytes.fromhex(record)) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ef-spn", "00 4E 65 74 FF FF", "'Net', display condition 0"),
        ("ef-spn", "00 80 04 14 FF FF", "00800414 and 2 bytes FF"),
        ("ef-li", "65 6E 64 65 FF FF", "en, de"),
        ("ef-fplmn", "21 F3 54 21 63 54 FF FF FF", "123-45, 123-456"),
        ("ef-imsi", "FF FF FF FF FF FF FF FF FF", "empty (9 bytes FF)"),
        ("ef-est", "03", "services 1, 2"),
        (None, "01 02", "0102"),
    ],
)
def test_contents_in_words(name: str | None, content: str, expected: str) -> None:
    spec = FileSpec((0x3F00, 0x7FD0, 0x6F01), "transparent", 0x6F01, name, content=bytes.fromhex(content))
    assert content_text(spec) == expected


def test_names_of_pins() -> None:
    names = [pin_name(reference) for reference in (1, 2, 10, 14, 129, 130, 138, 142, 17)]
    assert names == ["PIN1", "PIN1.2", "ADM1", "ADM5", "PIN2", "PIN2.2", "ADM6", "ADM10", "PIN 11"]
