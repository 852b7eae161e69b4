"""Readable profiles become packages: the same bytes every time, and nothing that an eUICC would not install."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench import data
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import FileSpec, ProfilePackage, ResolveContext, resolve_files
from esim_bench.codec.saip import contents as ef
from esim_bench.codec.saip.build import build_profile
from esim_bench.codec.saip.document import ProfileError
from esim_bench.codec.saip.lint import lint
from esim_bench.errors import CodecError, ConfigError
from esim_bench.profile_file import load_profile, read_package
from esim_drivers.sim.installer import ProfileInstaller
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = ("bootstrap-global", "emergency", "fallback-global", "operational-a", "operational-b")
ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
EF_DIR, EF_IMSI, EF_UST, EF_AD, EF_HPLMNWACT = 0x2F00, 0x6F07, 0x6F38, 0x6FAD, 0x6F62


def tables(name: str = "operational-a") -> dict[str, Any]:
    return tomllib.loads(data.profile_file(name).read_text())


def files_of(upp: bytes) -> dict[int, FileSpec]:
    context = ResolveContext()
    specs = [spec for element in ProfilePackage.parse(upp).elements for spec in resolve_files(element, context)]
    return {spec.fid: spec for spec in specs}


def test_these_are_all_profiles() -> None:
    assert data.profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_built_byte_for_byte(name: str) -> None:
    assert load_profile(data.profile_file(name)).upp == (GOLDEN / f"{name}.der").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_has_no_findings(name: str) -> None:
    assert [each for each in lint(read_package(GOLDEN / f"{name}.der")) if each.severity != "note"] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_euicc_installs_it(name: str) -> None:
    nvm = Nvm()
    installer = ProfileInstaller(nvm, ISDP, STANDARD)
    for element in read_package(GOLDEN / f"{name}.der").elements:
        installer.element(element.raw)
    installer.finish()
    assert nvm.keys(f"isdp/{ISDP.hex().upper()}/")


@pytest.mark.parametrize("name", NAMES)
def test_every_element_is_mandated_and_encodes_again(name: str) -> None:
    package = read_package(GOLDEN / f"{name}.der")
    assert all(element.mandated for element in package.elements)
    assert package.encode() == package.raw


def test_profiles_differ_in_all_that_names_them() -> None:
    packages = [read_package(GOLDEN / f"{name}.der") for name in NAMES]
    keys = [tables(name)["aka"]["k"] for name in NAMES]
    for values in ([p.iccid for p in packages], [p.imsi for p in packages], [p.profile_type for p in packages], keys):
        assert len(dict.fromkeys(values)) == len(NAMES)


def test_files_say_what_the_tables_say() -> None:
    built = build_profile(tables("operational-b"))
    files = files_of(built.upp)
    assert files[EF_IMSI].content == bytes.fromhex("089999 0700000020 10".replace(" ", ""))
    assert files[EF_DIR].records()[0].startswith(bytes.fromhex("6118") + b"\x4f\x10" + ef.USIM_AID)
    assert files[EF_AD].content == bytes.fromhex("00000002")
    assert files[EF_HPLMNWACT].content == bytes.fromhex("99F907C080")
    services = int.from_bytes(files[EF_UST].content, "little")
    there = [number for number in range(1, 113) if services & 1 << (number - 1)]
    assert {2, 10, 12, 17, 19, 21, 45, 85} <= {*there}
    assert 20 in there
    assert 18 not in there


def test_metadata_fits_the_package() -> None:
    built = build_profile(tables())
    metadata = Metadata.parse(built.metadata)
    assert metadata.iccid == ProfilePackage.parse(built.upp).iccid
    assert (metadata.profile_name, metadata.profile_class) == ("Operational A", "operational")
    assert metadata.notifications == ((("install", "enable", "disable", "delete"), "testsmdpplus1.example.com"),)
    assert metadata.owner == (bytes.fromhex("00F110"), bytes.fromhex("0A01"), None)


@pytest.mark.parametrize(
    ("name", "members"),
    [("operational-a", (None, None)), ("fallback-global", (None, True)), ("emergency", (True, None))],
)
def test_metadata_say_what_an_iot_euicc_may_do_with_it(name: str, members: tuple[bool | None, bool | None]) -> None:
    raw = build_profile(tables(name)).metadata
    metadata = Metadata.parse(raw)
    assert (metadata.ecall, metadata.fallback_allowed) == members
    assert metadata.encode() == raw
    # In the order of the ASN.1, at the end; nothing of them in a consumer profile.
    ending = {"operational-a": b"", "fallback-global": b"\x9f\x67\x01\xff", "emergency": b"\x9f\x7b\x01\xff"}[name]
    assert raw.endswith(ending)


def test_connectivity_parameters_stand_in_the_header() -> None:
    header = read_package(GOLDEN / "bootstrap-global.der").header
    assert header["connectivityParameters"] == b"\xa1\x17\x35\x01\x03\x47\x12\x03iot\x05bench\x07example"


def test_the_check_digit_of_an_iccid() -> None:
    assert ef.luhn_digit("7992739871") == "3"


def test_more_files_with_content_and_sizes_of_their_own() -> None:
    document = tables()
    document["files"] |= {
        "ef-gid2": {"text": "group"},
        "ef-opl": {"records": ["00F1100000FFFE01"], "size": 3},
        "ef-spdi": {"hex": "A3058003" + "00F110", "size": 30},
        "ef-ice-dn": {},
    }
    files = files_of(build_profile(document).upp)
    assert files[0x6F3F].content == b"group" + b"\xff" * 3
    assert files[0x6FC6].record_count == 3
    assert files[0x6FCD].size == 30
    assert files[0x6FE0].path == (0x3F00, 0x7F10, 0x6FE0)


@pytest.mark.parametrize(
    ("table", "key", "value", "complaint"),
    [
        ("profile", "iccid", "8988211000000000012", "profile.iccid: wrong check digit"),
        ("profile", "imsi", "262010000000001", "profile.imsi: not of this network"),
        ("profile", "spn", "Bänch", "profile.spn: wrong value|profile.spn: not a name"),
        ("profile", "mnc", "1", "profile.mnc"),
        ("aka", "k", "00", "aka.k: wrong length: expected 16 bytes, found 1"),
        ("aka", "opc", None, "aka.opc: missing"),
        ("files", "ef-gid9", {}, "files.ef-gid9: no such file in the templates: expected a name like ef-gid"),
        ("files", "ef-imsi", {}, "files.ef-imsi: file can't be given"),
        ("files", "ef-gid1", {"records": ["00"]}, r"files.ef-gid1.records: ef-gid1 has no records"),
        ("files", "ef-gid1", {"hex": "0000", "size": 1}, "files.ef-gid1: content does not fit"),
        ("files", "ef-pnn", {"records": ["00" * 9], "record_length": 8}, "files.ef-pnn.records: records do not fit"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(table: str, key: str, value: Any, complaint: str) -> None:
    document = tables()
    document[table][key] = value
    with pytest.raises(ProfileError, match=complaint):
        build_profile(document)


def test_codes_that_cannot_be() -> None:
    document = tables()
    document["pin"].append({"name": "PIN1", "value": "1111"})
    with pytest.raises(ProfileError, match=r"pin\[3\]\.name: given twice"):
        build_profile(document)
    document["pin"] = [{"name": "PIN1", "value": "1111"}]
    with pytest.raises(ProfileError, match="pin: no ADM1"):
        build_profile(document)


def test_a_file_complains_with_line_and_key(tmp_path: Path) -> None:
    text = data.profile_file("operational-a").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("8988211000000000011", "8988211000000000019"))
    line = next(n for n, found in enumerate(text.splitlines(), 1) if found.startswith("iccid"))
    with pytest.raises(ConfigError, match=rf"mine\.toml:{line}: profile\.iccid: wrong check digit"):
        load_profile(path)
    path.write_text(text.replace('name = "PIN1"', 'nome = "PIN1"'))
    line = next(n for n, found in enumerate(text.splitlines(), 1) if '"PIN1"' in found)
    with pytest.raises(ConfigError, match=rf"mine\.toml:{line}: pin\.0\.nome: unknown key"):
        load_profile(path)


def test_files_that_are_no_profiles(tmp_path: Path) -> None:
    big = tmp_path / "big.der"
    big.write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(ConfigError, match=r"big\.der: profile package too large"):
        read_package(big)
    with pytest.raises(ConfigError, match="profile file too large"):
        load_profile(big)
    with pytest.raises(ConfigError, match="expected a file"):
        read_package(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        load_profile(tmp_path / "nothing.toml")
    cut = tmp_path / "cut.der"
    cut.write_bytes((GOLDEN / "operational-a.der").read_bytes()[:-1])
    with pytest.raises(CodecError, match=r"cut\.der: "):
        read_package(cut)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PLACES = [(table, key) for table in ("profile", "aka", "ota", "files") for key in tables()[table]]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*PLACES, ("pin", 0), ("puk", 1), ("notification", 0)]), JSON_LIKE)
def test_any_document_is_built_or_refused_in_order(place: tuple[str, Any], value: Any) -> None:
    document = tables()
    document[place[0]][place[1]] = value
    try:
        built = build_profile(document)
    except CodecError:
        return
    assert ProfilePackage.parse(built.upp, deep=True).encode() == built.upp
