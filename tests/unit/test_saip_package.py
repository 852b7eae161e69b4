"""Profile packages: taken apart and put together again without losing a byte."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.saip import KINDS, Element, ProfilePackage, encode_element, tag_of
from esim_bench.codec.schema import SAIP
from esim_bench.errors import CodecError

ROOT = Path(__file__).resolve().parents[2]
TS48 = Path(os.environ.get("ESIM_BENCH_TS48", ROOT.parent / "shared" / "data"))
FILES = {"TS48v1_A.der": 28, "TS48v5_SAIP2.3_NoBERTLV.der": 30}


def ts48(name: str) -> bytes:
    path = TS48 / name
    if not path.is_file():
        pytest.skip(f"no TS.48 profile {name} in {TS48}: set ESIM_BENCH_TS48")
    return path.read_bytes()


@pytest.fixture(params=list(FILES))
def package(request: pytest.FixtureRequest) -> ProfilePackage:
    return ProfilePackage.parse(ts48(request.param))


HEADER = encode_element(
    "header",
    {
        "major-version": 2,
        "minor-version": 3,
        "profileType": "small",
        "iccid": bytes.fromhex("89882119900000000017"),
        "eUICC-Mandatory-services": {"usim": None, "milenage": None},
        "eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1"],
    },
)
END = encode_element("end", {"end-header": {"mandated": None, "identification": 9}})


def test_a_small_package() -> None:
    package = ProfilePackage.parse(HEADER + END)
    assert [element.kind for element in package.elements] == ["header", "end"]
    assert package.iccid.hex() == "98881291090000000071"
    assert package.iccid_text == "89882119900000000017"
    assert package.profile_type == "small"
    assert package.version == (2, 3)
    assert package.services == ("usim", "milenage")
    assert package.templates == ("2.23.143.1.2.1",)
    assert package.imsi is None


def test_the_end_element_is_known_by_its_bytes() -> None:
    assert bytes.fromhex("AA07A0058000810109") == END
    element = Element.parse(END)
    assert (element.kind, element.tag, element.identification, element.mandated) == ("end", 0xAA, 9, True)
    assert element.header == {"mandated": None, "identification": 9}


def test_tags_follow_from_the_place_in_the_list() -> None:
    assert [f"{tag_of(kind):X}" for kind in ("header", "mf", "opt-usim", "df-snpn", "df-5gprose", "opt-iot")] == [
        *("A0", "B0", "B4", "BE", "BF1F", "BF21")
    ]
    assert len({tag_of(kind) for kind in KINDS}) == len(KINDS) == 34


@pytest.mark.parametrize(("name", "count"), list(FILES.items()))
def test_ts48_profiles_come_out_byte_by_byte(name: str, count: int) -> None:
    upp = ts48(name)
    package = ProfilePackage.parse(upp, deep=True)
    assert len(package.elements) == count
    assert package.encode() == upp
    assert b"".join(element.raw for element in package.elements) == upp


def test_ts48_profiles_say_who_they_are(package: ProfilePackage) -> None:
    assert package.iccid.hex() == "98001032547698103214"
    assert package.iccid_text == "89000123456789012341"
    assert package.imsi == "001010123456063"
    assert package.profile_type == "GSMA Generic eUICC Test Profile"
    assert {"usim", "isim", "csim", "usim-test-algorithm"} <= set(package.services)
    assert all(element.mandated for element in package.elements)
    numbers = [element.identification for element in package.elements[1:]]
    assert len(set(numbers)) == len(numbers)


def test_offsets_and_indexes_lead_to_the_element(package: ProfilePackage) -> None:
    for index, element in enumerate(package.elements):
        assert element.index == index
        assert package.raw.startswith(element.raw, element.offset)
        assert Element.parse(element.raw).value == element.value


def test_aka_parameters_left_out_stay_left_out(package: ProfilePackage) -> None:
    first = package.of_kind("akaParameter")[0]
    name, algorithm = first.value["algoConfiguration"]
    assert name == "algoParameter"
    assert algorithm["algorithmID"] == 3
    assert algorithm["key"] == bytes(range(16))
    assert "sqnInit" not in first.value
    assert first.encode() == first.raw


def test_aka_parameters_spelled_out_survive() -> None:
    value = {
        "aka-header": {"identification": 1},
        "algoConfiguration": (
            "algoParameter",
            {"algorithmID": 1, "algorithmOptions": b"\x01", "key": bytes(16), "opc": bytes(16), "numberOfKeccak": 1},
        ),
        "sqnOptions": b"\x02",
        "sqnInit": [bytes(6)] * 32,
    }
    raw = encode_element("akaParameter", value)
    assert Element.parse(raw).value == value
    assert Element.parse(raw).mandated is False


def test_rfm_keeps_its_two_members_of_one_tag(package: ProfilePackage) -> None:
    value = package.of_kind("rfm")[0].value
    assert value["rfm-header"]["identification"] == package.of_kind("rfm")[0].identification
    assert value["tarList"] == [bytes.fromhex("B00120")]


def test_answers_of_the_euicc() -> None:
    assert SAIP.encode("EUICCResponse", {"peStatus": [{"status": 0}]}) == bytes.fromhex("3007A0053003800100")
    failed = bytes.fromhex("300FA00B300980010381010883010C8100")
    assert SAIP.decode("EUICCResponse", failed) == {
        "peStatus": [{"status": 3, "identification": 8, "offset": 12}],
        "profileInstallationAborted": None,
    }


@pytest.mark.parametrize(
    ("upp", "message"),
    [
        (b"", "incomplete"),
        (HEADER, "cut off"),
        (END, "header first"),
        (HEADER + HEADER + END, "element 1 .header. at byte"),
        (HEADER + END + END, "after the end element"),
        (HEADER + bytes.fromhex("8000") + END, "unknown profile element: expected a tag A0"),
        (HEADER + bytes.fromhex("BF2200") + END, "found BF22"),
        (HEADER + bytes.fromhex("AA028100"), "element 1 .end.*no element header"),
        (HEADER + bytes.fromhex("AA04A0028000"), "missing member in A0: expected 81"),
        (HEADER + bytes.fromhex("AA05A0038101FF"), "identification: expected 0 to 32767"),
        (HEADER[:-1], "truncated"),
    ],
)
def test_what_is_no_package(upp: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        ProfilePackage.parse(upp)


def test_a_malformed_element_is_named_when_it_is_decoded() -> None:
    bad = bytes.fromhex("B30E A003810107 8107 678F0101020104")
    package = ProfilePackage.parse(HEADER + bad + END)
    assert package.elements[1].identification == 7
    with pytest.raises(CodecError, match=r"profile element 1 \(usim\) at byte \d+, ProfileElement"):
        package.check()


@pytest.mark.parametrize(
    "element",
    [
        "A309 A003810101 A1020500",  # a list of PUKs with an element of another tag
        "A309 A003810101 A1023004",  # ... with one that is longer than the list
        "B309 A003810101 8103670000",  # no object identifier
        "A110 A003810101 A107 3005 6203 820267",  # file control parameters that reach behind their list
    ],
)
def test_lists_and_members_stay_within_their_bounds(element: str) -> None:
    raw = bytes.fromhex(element)
    package = ProfilePackage.parse(HEADER + raw[:1] + bytes((len(raw) - 2,)) + raw[2:] + END)
    with pytest.raises(CodecError, match=r"profile element 1 "):
        package.check()


def test_limits() -> None:
    with pytest.raises(CodecError, match="too long"):
        ProfilePackage.parse(bytes(1024 * 1024 + 1))
    with pytest.raises(CodecError, match="too many"):
        ProfilePackage.parse(HEADER + bytes.fromhex("AB00") * 1024 + END)


def test_unknown_kinds_and_members_are_refused() -> None:
    with pytest.raises(CodecError, match="no such profile element"):
        encode_element("Usim", {})
    with pytest.raises(CodecError, match="ProfileElement"):
        encode_element("end", {})


def test_every_cut_is_noticed() -> None:
    upp = ts48("TS48v1_A.der")
    for size in [*range(300), *range(300, len(upp), 61), *range(len(upp) - 20, len(upp))]:
        with pytest.raises(CodecError):
            ProfilePackage.parse(upp[:size])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    upp = bytearray(ts48("TS48v1_A.der"))
    for _ in range(data.draw(st.integers(1, 4))):
        upp[data.draw(st.integers(0, len(upp) - 1))] = data.draw(st.integers(0, 255))
    try:
        package = ProfilePackage.parse(bytes(upp), deep=True)
        assert package.imsi is None or package.imsi.isdigit()
        assert package.iccid_text is not None
    except CodecError:
        pass


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=64))
def test_arbitrary_bytes_never_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        ProfilePackage.parse(HEADER + raw + END, deep=True)
