"""From profile elements to concrete files: templates, file control parameters, fill commands, links."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.saip import (
    TEMPLATES,
    Element,
    FileSpec,
    ProfilePackage,
    ResolveContext,
    encode_element,
    path_text,
    resolve_files,
)
from esim_bench.codec.saip.templates import Fill, template_oid
from esim_bench.errors import CodecError

ROOT = Path(__file__).resolve().parents[2]
TS48 = Path(os.environ.get("ESIM_BENCH_TS48", ROOT.parent / "shared" / "data"))
NAMES = ("TS48v1_A.der", "TS48v5_SAIP2.3_NoBERTLV.der")
COUNTS = {"TS48v1_A.der": 237, "TS48v5_SAIP2.3_NoBERTLV.der": 253}
USIM_AID = bytes.fromhex("A0000000871002FF49FF0589")
PINS = bytes.fromhex("01")


def files_of(name: str) -> dict[str, FileSpec]:
    path = TS48 / name
    if not path.is_file():
        pytest.skip(f"no TS.48 profile {name} in {TS48}: set ESIM_BENCH_TS48")
    context = ResolveContext()
    package = ProfilePackage.parse(path.read_bytes())
    specs = [spec for element in package.elements for spec in resolve_files(element, context)]
    return {path_text(spec.path): spec for spec in specs}


def element(kind: str, **members: Any) -> Element:
    return Element.parse(encode_element(kind, {name.replace("__", "-"): value for name, value in members.items()}))


def mf(**members: Any) -> Element:
    """A small MF element; members as keywords, with __ for the hyphen."""
    complete = {
        "mf__header": {"identification": 1},
        "templateID": template_oid("1"),
        "mf": [("fileDescriptor", {"pinStatusTemplateDO": PINS})],
        "ef__iccid": [("fillFileContent", bytes.fromhex("98001032547698103214"))],
        "ef__dir": [("fileDescriptor", {"fileDescriptor": bytes.fromhex("42210020"), "efFileSize": b"\x40"})],
        "ef__arr": [("fileDescriptor", {"fileDescriptor": bytes.fromhex("42210010"), "efFileSize": b"\x20"})],
    }
    return element("mf", **{**complete, **members})


def usim(**members: Any) -> Element:
    record = {"fileDescriptor": bytes.fromhex("42210010"), "efFileSize": b"\x10"}
    complete = {
        "usim__header": {"identification": 2},
        "templateID": template_oid("4"),
        "adf__usim": [("fileDescriptor", {"fileID": b"\x7f\xf0", "dfName": USIM_AID, "pinStatusTemplateDO": PINS})],
        "ef__imsi": [("fillFileContent", bytes.fromhex("080910101032540636"))],
        "ef__arr": [("fileDescriptor", record)],
        "ef__ust": [],
        "ef__spn": [],
        "ef__est": [],
        "ef__acc": [],
        "ef__ecc": [],
    }
    return element("usim", **{**complete, **members})


def gfm(*commands: tuple[str, Any]) -> Element:
    return element("genericFileManagement", gfm__header={"identification": 3}, fileManagementCMD=[list(commands)])


def resolve(*elements: Element) -> dict[str, FileSpec]:
    context = ResolveContext()
    return {path_text(spec.path): spec for each in elements for spec in resolve_files(each, context)}


# ------------------------------------------------------------------------------------------------- TS.48


@pytest.mark.parametrize("name", NAMES)
def test_ts48_files_everybody_knows(name: str) -> None:
    files = files_of(name)
    assert files["3F00/2FE2"].content.hex() == "98001032547698103214"
    imsi = files["3F00/7FD0/6F07"]
    assert imsi.content.hex() == "080910101032540636"
    assert (imsi.name, imsi.kind, imsi.size, imsi.sfi, imsi.lcsi) == ("ef-imsi", "transparent", 9, 7, 5)
    assert imsi.arr == bytes.fromhex("6F060A")
    adf = files["3F00/7FD0"]
    assert (adf.kind, adf.df_name, adf.sfi, adf.content) == ("adf", USIM_AID, None, b"")
    assert files["3F00"].kind == "df"
    assert files["3F00"].pin_status_template in (bytes.fromhex("010A"), bytes.fromhex("010A0B"))


@pytest.mark.parametrize("name", NAMES)
def test_ts48_files_are_complete(name: str) -> None:
    files = files_of(name)
    assert len(files) == COUNTS[name]
    for spec in files.values():
        if spec.is_directory or spec.link_path:
            assert spec.content == b""
        else:
            assert len(spec.content) == spec.size
        if spec.kind in ("linear", "cyclic") and not spec.link_path:
            assert [len(record) for record in spec.records()] == [spec.record_length] * (spec.record_count or 0)
        if spec.link_path:
            # Its record length is no evidence: v5 links a file of 28 to one of 39.
            assert files[path_text(spec.link_path)].kind == spec.kind
        if len(spec.path) > 1:
            assert files[path_text(spec.path[:-1])].is_directory


@pytest.mark.parametrize("name", NAMES)
def test_ts48_offsets_count_from_the_end_of_what_was_written(name: str) -> None:
    records = files_of(name)["3F00/2F06"].records()
    assert len(records) == 15
    assert all(record[0] in (0x80, 0xFF) for record in records), "every access rule starts a record"
    kc = files_of(name)["3F00/7FD0/5F3B/4F20"]
    assert kc.content.hex() == "ffffffffffffffff07"


@pytest.mark.parametrize("name", NAMES)
def test_ts48_identifiers_and_structures_are_those_of_the_templates(name: str) -> None:
    path = TS48 / name
    if not path.is_file():
        pytest.skip("no TS.48 profiles")
    context = ResolveContext()
    for each in ProfilePackage.parse(path.read_bytes()).elements:
        for spec in resolve_files(each, context):
            if each.template and spec.name:
                known = TEMPLATES[each.template].files[spec.name]
                assert known.fid in (None, spec.fid)
                assert known.kind == spec.kind


# ------------------------------------------------------------------------------------------------- templates


def test_members_of_the_templates_are_members_of_the_elements() -> None:
    assert len(TEMPLATES) == 28
    for template in TEMPLATES.values():
        for file in template.files.values():
            assert file.parent is None or template.files[file.parent].is_directory
            if file.size is not None and file.kind in ("linear", "cyclic"):
                assert file.size == (file.record_count or 0) * (file.record_length or 0)
        identifiers = [(file.parent, file.fid) for file in template.files.values() if file.fid is not None]
        assert len(set(identifiers)) == len(identifiers), template.oid


def test_a_later_template_replaces_what_changed() -> None:
    first, second = TEMPLATES[template_oid("4")], TEMPLATES[template_oid("4.2")]
    assert (first.files["ef-ust"].size, second.files["ef-ust"].size) == (14, 17)
    assert list(first.files) == list(second.files)
    assert "ef-epdgid" not in TEMPLATES[template_oid("5")].files
    assert TEMPLATES[template_oid("5.3")].files["ef-eaka"].fid == 0x6F01


@pytest.mark.parametrize(
    ("fill", "content"),
    [
        (Fill(), "ffffffff"),
        (Fill(b"\x00\xff"), "00ffffff"),
        (Fill(b"\x01\x02", repeat=True), "01020102"),
        (Fill(b"123456"), "31323334"),
        (Fill(tail=b"\x07"), "ffffff07"),
    ],
)
def test_patterns(fill: Fill, content: str) -> None:
    assert fill.expand(4).hex() == content
    assert fill.expand(0) == b""


def test_what_the_profile_leaves_out_comes_from_the_template() -> None:
    files = resolve(mf(), usim())
    iccid = files["3F00/2FE2"]
    assert (iccid.size, iccid.arr, iccid.sfi) == (10, bytes.fromhex("2F060B"), None)
    keys = files["3F00/7FF0/6F08"]
    assert keys.content == b"\x07" + b"\xff" * 32
    assert files["3F00/7FF0/6F3C"].records()[9] == b"\x00" + b"\xff" * 175
    assert files["3F00/7FF0/6F3C"].arr == bytes.fromhex("6F0605")
    assert files["3F00/7FF0"].arr == bytes.fromhex("2F060E")


def test_do_not_create() -> None:
    files = resolve(mf(), usim(ef__keys=[("doNotCreate", None)]))
    assert "3F00/7FF0/6F08" not in files
    assert "3F00/7FF0/6F09" in files


def test_optional_files_come_only_when_they_are_in_the_profile() -> None:
    optional = element(
        "opt-usim",
        **{"optusim-header": {"identification": 5}, "templateID": template_oid("5"), "ef-ext8": [], "ef-plmnwact": []},
    )
    files = resolve(mf(), usim(), optional)
    assert files["3F00/7FF0/6FCF"].record_count == 10
    assert files["3F00/7FF0/6F60"].content == bytes.fromhex("FFFFFF0000") * 8
    assert "3F00/7FF0/6F05" not in files


def test_descriptions_of_the_profile_win() -> None:
    fcp = {
        "fileDescriptor": bytes.fromhex("4221000A"),
        "efFileSize": b"\x14",
        "shortEFID": b"",
        "lcsi": b"\x04",
        "securityAttributesReferenced": b"\x03",
        "proprietaryEFInfo": {"repeatPattern": b"\x12\x34"},
    }
    ecc = resolve(
        mf(), usim(ef__ecc=[("fileDescriptor", fcp), ("fillFileOffset", 9), ("fillFileContent", b"\x99\x98")])
    )["3F00/7FF0/6FB7"]
    assert [record.hex() for record in ecc.records()] == ["12341234123412341299", "98341234123412341234"]
    assert (ecc.sfi, ecc.lcsi, ecc.arr) == (None, 4, bytes.fromhex("6F0603"))


# ------------------------------------------------------------------------------------------------- generic elements


def test_generic_files_get_directories_identifiers_and_content() -> None:
    files = resolve(
        mf(),
        gfm(
            ("filePath", b""),
            ("createFCP", {"fileDescriptor": b"\x78\x21", "fileID": b"\x7f\x20", "pinStatusTemplateDO": PINS}),
            ("createFCP", {"fileDescriptor": b"\x41\x21", "fileID": b"\x6f\x07", "efFileSize": b"\x04"}),
            ("fillFileContent", b"\x01"),
            ("fillFileOffset", 1),
            ("fillFileContent", b"\x03"),
            ("filePath", b"\x7f\x20"),
            ("createFCP", {"fileDescriptor": b"\x41\x21", "fileID": b"\x6f\x20", "linkPath": b"\x7f\x20\x6f\x07"}),
        ),
    )
    assert files["3F00/7F20/6F07"].content.hex() == "01ff03ff"
    assert files["3F00/7F20/6F07"].sfi == 7, "the five low bits of the file identifier"
    assert files["3F00/7F20/6F20"].link_path == (0x3F00, 0x7F20, 0x6F07)
    assert files["3F00/7F20/6F20"].sfi is None


def test_a_file_that_is_there_can_be_filled_later() -> None:
    context = ResolveContext()
    resolve_files(mf(), context)
    (spec,) = resolve_files(gfm(("filePath", b"\x2f\xe2"), ("fillFileContent", b"\x89")), context)
    assert spec.update
    assert spec.content.hex() == "89001032547698103214"
    assert context.files[spec.path].content == spec.content


def test_an_application_made_by_hand_takes_optional_files() -> None:
    adf = {"fileDescriptor": b"\x78\x21", "fileID": b"\x7f\xf1", "dfName": USIM_AID, "pinStatusTemplateDO": PINS}
    header = {"identification": 4}
    access = element(
        "gsm-access",
        **{"gsm-access-header": header, "templateID": template_oid("7"), "df-gsm-access": [], "ef-kc": []},
    )
    files = resolve(mf(), gfm(("filePath", b""), ("createFCP", adf)), access)
    assert files["3F00/7FF1/5F3B/4F20"].content.hex() == "ffffffffffffffff07"


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([usim()], "out of order: expected after the element that creates mf"),
        ([mf(), mf()], "exists already: found 3F00"),
        ([mf(templateID=template_oid("99"))], r"unknown template: expected 2.23.143.1.2.1, found 2.23.143.1.2.99"),
        ([mf(templateID=template_oid("4"))], "unknown template"),
        ([mf(ef__iccid=[("fillFileContent", bytes(11))])], "ef-iccid: content does not fit the file: expected 10"),
        ([mf(ef__iccid=[("fillFileOffset", 11)])], "does not fit"),
        ([mf(ef__dir=[])], "no file size: expected efFileSize"),
        (
            [mf(ef__dir=[("fileDescriptor", {"fileDescriptor": bytes.fromhex("42210020"), "efFileSize": b"\x41"})])],
            "whole",
        ),
        ([mf(ef__pl=[("fileDescriptor", {}), ("fileDescriptor", {})])], "two file descriptors"),
        ([mf(ef__pl=[("fileDescriptor", {"fileDescriptor": b"\x07\x21"})])], "malformed file descriptor"),
        ([mf(ef__pl=[("fileDescriptor", {"efFileSize": b"\xff" * 5})])], "out of range"),
        ([mf(ef__pl=[("fileDescriptor", {"securityAttributesReferenced": b"\x2f\x06"})])], "expected 1 or 3 bytes"),
        ([mf(), usim(adf__usim=[])], "no file identifier"),
        ([mf(), usim(adf__usim=[("fileDescriptor", {"fileID": b"\x7f\xf0"})])], "ADF without its AID"),
        ([mf(), gfm(("filePath", b"\x7f\x10"))], "no such file: expected a path created before, found 3F00/7F10"),
        ([mf(), gfm(("filePath", b"\x7f"))], "malformed file path"),
        ([mf(), gfm(("fillFileContent", b"\x7f"))], "content without a file"),
        ([mf(), gfm(("createFCP", {"fileID": b"\x6f\x01"}))], "no file descriptor"),
    ],
)
def test_what_cannot_be_created(elements: list[Element], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        resolve(*elements)


def test_few_bytes_cannot_ask_for_all_memory() -> None:
    big = {"fileDescriptor": b"\x41\x21", "efFileSize": b"\x30\x00\x00"}
    commands = [("createFCP", {**big, "fileID": bytes((0x6F, number))}) for number in (1, 2)]
    with pytest.raises(CodecError, match="files too large"):
        resolve(mf(), gfm(*commands))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    path = TS48 / NAMES[1]
    if not path.is_file():
        pytest.skip("no TS.48 profiles")
    upp = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        upp[data.draw(st.integers(0, len(upp) - 1))] ^= data.draw(st.integers(1, 255))
    context = ResolveContext()
    with contextlib.suppress(CodecError):
        for each in ProfilePackage.parse(bytes(upp)).elements:
            resolve_files(each, context)
    assert context.content <= 5 * 1024 * 1024
