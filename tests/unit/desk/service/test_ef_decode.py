"""Contents of files in words, by known answers; what is malformed is left as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.saip import contents
from esim_bench.desk import ef
from esim_bench.desk.nodes import control_nodes, structure_of, tlv_nodes


def _said(name: str, content: str) -> list[tuple[str, str, str]]:
    return [(one.name, one.value, one.note) for one in ef.decode(name, bytes.fromhex(content))]


def _record(name: str, content: str) -> dict[str, str]:
    return {one.name: one.value for one in ef.decode_record(name, bytes.fromhex(content))}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("EF.ICCID", "988812010000000000F3", [("ICCID", "8988211000000000003", "")]),
        ("EF.IMSI", "082926101234567890", [("IMSI", "262012143658709", "")]),
        ("EF.PL", "656E6465FFFF", [("language", "en", ""), ("language", "de", "")]),
        ("EF.ACC", "0004", [("access control classes", "2", "")]),
        ("EF.HPPLMN", "05", [("search for the home PLMN every", "30 minutes", "")]),
        ("EF.FPLMN", "62F210FFFFFF130062", [("PLMN", "262-01", ""), ("PLMN", "310-260", "")]),
        (
            "EF.OPLMNwAcT",
            "62F2104800FFFFFF0000",
            [("PLMN", "262-01", "E-UTRAN, NG-RAN")],
        ),
        (
            "EF.SPN",
            "014C6162204F6E65FFFFFFFFFFFFFFFFFF",
            [
                ("display condition", "01", "the registered PLMN is shown beside it"),
                ("service provider name", "Lab One", ""),
            ],
        ),
        (
            "EF.LOCI",
            "1234567862F21000FEFF00",
            [
                ("TMSI", "12345678", ""),
                ("LAI: PLMN", "262-01", ""),
                ("LAI: LAC", "00FE", ""),
                ("location update status", "updated", ""),
            ],
        ),
        ("EF.Routing_Indicator", "21F3FFFF", [("routing indicator", "123", "")]),
        ("EF.SPDI", "A308800662F210130062", [("PLMN", "262-01", ""), ("PLMN", "310-260", "")]),
        ("EF.IMPI", "800D75736572406578616D706C6500", [("IMPI", "user@example\x00", "")]),
    ],
)
def test_transparent_files(name: str, content: str, expected: list[tuple[str, str, str]]) -> None:
    assert _said(name, content) == expected


def test_services_have_names() -> None:
    table = contents.ust(["ef-spn", "ef-msisdn"], 16)
    found = {one.name: one.value for one in ef.decode("EF.UST", table)}
    assert found["service 19"] == "Service Provider Name"
    assert found["service 21"] == "MSISDN"
    assert {one.name for one in ef.decode("EF.UST", bytes(15) + b"\x08")} == {"service 124"}
    assert ef.decode("EF.UST", bytes(15) + b"\x08")[0].value == "Subscription identifier privacy"


def test_records() -> None:
    assert _record("EF.MSISDN", contents.msisdn("+491711234567", 20).hex()) == {"name": "", "number": "+491711234567"}
    centre = _record("EF.SMSP", contents.smsp("+4917108", 40).hex())
    assert centre["TS-Service Centre Address"] == "+4917108"
    assert "TP-Destination Address" not in centre
    assert _record("EF.ECC", "11F2FF03") == {"emergency number": "112"}
    assert ef.decode_record("EF.ECC", bytes.fromhex("11F2FF03"))[0].note == "police, ambulance"
    assert _record("EF.OPL", "62F2100000FFFE01")["area codes"] == "0000 to FFFE"
    # TS 23.038 6.1.2: five characters in five bytes, five bits to spare.
    assert _record("EF.PNN", "430685E8329BFD06FFFF") == {"full name": "hello"}
    assert _record("EF.PNN", "43059000410042") == {"full name": "AB"}
    assert _record("EF.DIR", contents.directory(bytes.fromhex("A0000000871002FF"), "USIM").hex())["label"] == "USIM"


def test_alpha_identifiers_in_all_their_codings() -> None:
    assert ef.text_of(b"M\x7ex\xff\xff") == "Müx"
    assert ef.text_of(bytes.fromhex("80004100DFFFFF")) == "Aß"
    # TS 102 221 annex A: length, base pointer of the half-page, then characters.
    assert ef.text_of(bytes.fromhex("8103 08 C1 20 41".replace(" ", ""))) == chr(0x441) + " A"
    assert ef.text_of(bytes.fromhex("8202 0430 8141".replace(" ", ""))) == chr(0x431) + "A"


def test_empty_files_and_nonsense_hold_nothing() -> None:
    assert ef.decode("EF.IMSI", b"\xff" * 9) == []
    assert ef.decode("EF.LOCI", b"\x01") == []
    assert ef.decode_record("EF.SMSP", b"\x00" * 3) == []
    assert ef.decode("EF.IMPI", b"\x80\xff\x01") == []


@given(st.sampled_from(sorted({*ef._TRANSPARENT, *ef._RECORDS, "EF.OTHER"})), st.binary(max_size=64))
def test_no_content_breaks_the_reader(name: str, content: bytes) -> None:
    for node in (*ef.decode(name, content), *ef.decode_record(name, content)):
        assert node.start is None or 0 <= node.start <= (node.end or 0) <= len(content)


@given(st.binary(max_size=64))
def test_no_bytes_break_a_tree(data: bytes) -> None:
    for node in (*tlv_nodes(data), *control_nodes(data)):
        assert node.name


def test_control_parameters_in_words() -> None:
    fcp = bytes.fromhex("621A8205422100260283022F008A01058B032F06028002004C8801F0")
    said = {one.name.partition(" ")[0]: one.note for one in control_nodes(fcp)}
    assert said["82"] == "linear fixed, 2 records of 38 bytes"
    assert said["80"] == "76 bytes"
    assert said["8A"] == "activated"
    assert said["8B"] == "EF.ARR 2F06, record 2"
    assert said["88"] == "SFI 1E"
    assert [structure_of(bytes.fromhex(one)) for one in ("41", "42", "46", "78", "39", "")] == [
        "transparent",
        "linear fixed",
        "cyclic",
        "DF",
        "BER-TLV",
        "",
    ]
