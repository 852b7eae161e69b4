"""A profile package becomes files, keys and PINs in memory: all of it or nothing."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.codec.saip import encode_element
from esim_drivers.sim.fcp import MF
from esim_drivers.sim.filesystem import file_key
from esim_drivers.sim.installer import PeError, ProfileInstaller, malformed_at, remove_profile
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.pe_data import PeStatus
from esim_drivers.sim.personality import STANDARD, Personality
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
OTHER = bytes.fromhex("A0000005591010FFFFFFFF8900001100")
USIM = bytes.fromhex("A0000000871002FF49FF0589")
ICCID = bytes.fromhex("98001032547698103214")
IMSI = bytes.fromhex("080910101032540636")
ARR_RECORD = bytes.fromhex("8001019000800102A40683010A950108")
TEMPLATES = ["2.23.143.1.2.1", "2.23.143.1.2.4"]

Value = dict[str, Any]


def head(number: int, mandated: bool = True) -> Value:
    return {"mandated": None, "identification": number} if mandated else {"identification": number}


def header(**changes: Any) -> tuple[str, Value]:
    value: Value = {
        "major-version": 2,
        "minor-version": 3,
        "profileType": "small",
        "iccid": bytes.fromhex("89000123456789012341"),
        "eUICC-Mandatory-services": {"usim": None, "milenage": None},
        "eUICC-Mandatory-GFSTEList": TEMPLATES,
    }
    return "header", value | changes


def mf(**changes: Any) -> tuple[str, Value]:
    rules = {
        "fileDescriptor": b"\x42\x21\x00\x14",
        "efFileSize": b"\x28",
        "securityAttributesReferenced": b"\x2f\x06\x01",
    }
    names = {
        "fileDescriptor": b"\x42\x21\x00\x20",
        "efFileSize": b"\x20",
        "securityAttributesReferenced": b"\x2f\x06\x01",
    }
    directory = b"\x61\x12\x4f\x0c" + USIM + b"\x50\x02Us"
    value: Value = {
        "mf-header": head(1),
        "templateID": TEMPLATES[0],
        "mf": [
            ("fileDescriptor", {"pinStatusTemplateDO": b"\x01\x0a", "securityAttributesReferenced": b"\x2f\x06\x01"})
        ],
        "ef-iccid": [
            ("fileDescriptor", {"securityAttributesReferenced": b"\x2f\x06\x01"}),
            ("fillFileContent", ICCID),
        ],
        "ef-dir": [("fileDescriptor", names), ("fillFileContent", directory)],
        "ef-arr": [
            ("fileDescriptor", rules),
            ("fillFileContent", ARR_RECORD.ljust(20, b"\xff") + bytes.fromhex("800103A406830101950108")),
        ],
    }
    return "mf", value | changes


def puk_codes(**changes: Any) -> tuple[str, Value]:
    puk = {"keyReference": 1, "pukValue": b"11111111"}
    return "pukCodes", {"puk-Header": head(2), "pukCodes": [puk | changes]}


def pin_codes(number: int = 3, **changes: Any) -> tuple[str, Value]:
    pins = [
        {"keyReference": 1, "pinValue": b"0000\xff\xff\xff\xff", "unblockingPINReference": 1, "pinAttributes": 6}
        | changes,
        {"keyReference": 10, "pinValue": b"55555555", "maxNumOfAttemps-retryNumLeft": 0xAA},
    ]
    return "pinCodes", {"pin-Header": head(number), "pinCodes": ("pinconfig", pins)}


def usim(number: int = 4, changes: Value | None = None) -> tuple[str, Value]:
    adf = {
        "fileID": b"\x7f\xd0",
        "dfName": USIM,
        "pinStatusTemplateDO": b"\x81\x01\x0a",
        "securityAttributesReferenced": b"\x2f\x06\x01",
    }
    arr = {
        "fileDescriptor": b"\x42\x21\x00\x14",
        "efFileSize": b"\x14",
        "securityAttributesReferenced": b"\x6f\x06\x01",
    }
    value: Value = {
        "usim-header": head(number),
        "templateID": TEMPLATES[1],
        "adf-usim": [("fileDescriptor", adf)],
        "ef-imsi": [
            ("fileDescriptor", {"securityAttributesReferenced": b"\x6f\x06\x01"}),
            ("fillFileContent", IMSI),
        ],
        "ef-arr": [("fileDescriptor", arr), ("fillFileContent", bytes.fromhex("800103A406830101950108"))],
        "ef-ust": [("fileDescriptor", {"efFileSize": b"\x11"}), ("fillFileContent", bytes(17))],
        "ef-spn": [("fillFileContent", b"\x01bench")],
        "ef-est": [("fillFileContent", b"\x00")],
        "ef-acc": [("fillFileContent", b"\x00\x01")],
        "ef-ecc": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x04", "efFileSize": b"\x04"})],
    }
    return "usim", value | (changes or {})


def aka_parameter(**changes: Any) -> tuple[str, Value]:
    algorithm = {"algorithmID": 1, "algorithmOptions": b"\x01", "key": bytes(16), "opc": bytes(16)}
    return "akaParameter", {"aka-header": head(5), "algoConfiguration": ("algoParameter", algorithm | changes)}


def end(number: int = 9) -> tuple[str, Value]:
    return "end", {"end-header": head(number)}


def small() -> list[bytes]:
    """A small package: one application, PINs, keys."""
    return [encode_element(*e) for e in (header(), mf(), puk_codes(), pin_codes(), usim(), aka_parameter(), end())]


def install(nvm: Nvm, elements: list[bytes], isdp: bytes = ISDP, made: Personality = STANDARD) -> ProfileInstaller:
    installer = ProfileInstaller(nvm, isdp, made)
    with nvm.transaction():
        for element in elements:
            installer.element(element)
        installer.finish()
    return installer


def enabled_card(nvm: Nvm, isdp: bytes = ISDP) -> UiccCard:
    nvm.put("euicc/enabled", isdp)
    card = UiccCard(STANDARD, nvm)
    card.power_on()
    return card


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


# -------------------------------------------------------------------------------------------------------- installation


def test_an_installed_profile_is_read_through_the_uicc() -> None:
    nvm = Nvm()
    installer = install(nvm, small())
    assert installer.header_iccid == bytes.fromhex("89000123456789012341")
    card = enabled_card(nvm)
    assert send(card, "00A4000C022FE2") == "9000"
    assert send(card, "00B0000000") == ICCID.hex() + "9000"
    assert send(card, "00A4040C0C" + USIM.hex()) == "9000"
    assert send(card, "00A4000C026F07") == "9000"
    assert send(card, "00B0000009") == IMSI.hex() + "9000"  # PIN1 is disabled
    assert send(card, "00200001") == "6984"
    assert send(card, "0020000A") == "63CA"
    fcp = send(card, "00A404040C" + USIM.hex() + "00")
    assert "83027FFF" in fcp
    assert "C60C90012083018183010183010A" in fcp


def test_a_file_is_created_by_one_write_and_filled_by_another() -> None:
    nvm = Nvm()
    install(nvm, small())
    written = [write for write in nvm.journal if write.key == file_key(ISDP, (MF, 0x2FE2))]
    assert len(written) == 2
    created, filled = (write.value or b"" for write in written)
    assert created[:-10] == filled[:-10]
    assert (created[-10:], filled[-10:]) == (bytes([0xFF] * 10), ICCID)
    keys = [write.key.removeprefix(f"isdp/{ISDP.hex().upper()}/") for write in nvm.journal]
    for key in ("header", "puk/01", "pin/3F00/01", "pin/3F00/0A", "aka/3F00/7FD0/algorithm", "aka/3F00/7FD0/sqn"):
        assert keys.count(key) == 1


def test_a_cut_before_any_write_of_an_installation_leaves_the_old_state_and_none_the_new_one() -> None:
    factory = Nvm()
    install(factory, small(), OTHER)
    factory.put("euicc/enabled", OTHER)
    before = factory.contents()
    complete = Nvm.restore(factory.snapshot())
    install(complete, small())
    writes = complete.writes
    assert writes > 20
    for cut in range(writes + 1):
        nvm = Nvm.restore(factory.snapshot())
        nvm.cut_before = cut
        if cut < writes:
            with pytest.raises(PowerLost):
                install(nvm, small())
            assert nvm.contents() == before
        else:
            install(nvm, small())
            assert nvm.contents() == complete.contents()
        card = UiccCard(STANDARD, nvm)
        card.power_on()
        assert send(card, "00A4000C022FE2") == "9000"
        assert send(card, "00B0000000") == ICCID.hex() + "9000"


def test_a_removed_profile_leaves_nothing_and_harms_no_other() -> None:
    nvm = Nvm()
    install(nvm, small(), OTHER)
    before = nvm.contents()
    install(nvm, small())
    with nvm.transaction():
        remove_profile(nvm, ISDP)
    assert nvm.contents() == before


def test_installing_twice_gives_the_same_bytes() -> None:
    one, other = Nvm(), Nvm()
    install(one, small())
    install(other, small())
    assert one.journal == other.journal


# ------------------------------------------------------------------------------------------------------------ refusals


def refusal(*elements: tuple[str, Value] | bytes, made: Personality = STANDARD) -> PeError:
    """Install elements, of which the last one must be refused."""
    installer = ProfileInstaller(Nvm(), ISDP, made)
    raw = [element if isinstance(element, bytes) else encode_element(*element) for element in elements]
    for element in raw[:-1]:
        installer.element(element)
    with pytest.raises(PeError) as caught:
        installer.element(raw[-1])
    return caught.value


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"major-version": 3}, PeStatus.UNSUPPORTED_PROFILE_VERSION),
        ({"minor-version": 4}, PeStatus.UNSUPPORTED_PROFILE_VERSION),
        ({"eUICC-Mandatory-services": {"usim": None, "contactless": None}}, PeStatus.FEATURE_NOT_SUPPORTED),
        ({"eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.99"]}, PeStatus.TEMPLATE_NOT_SUPPORTED),
        ({"eUICC-Mandatory-AIDs": [{"aid": USIM, "version": b"\x01\x00"}]}, PeStatus.LIB_NOT_SUPPORTED),
    ],
)
def test_a_header_that_asks_too_much_is_refused(changes: Value, status: PeStatus) -> None:
    assert refusal(header(**changes)).status == status


def test_an_older_minor_version_is_fine() -> None:
    ProfileInstaller(Nvm(), ISDP, STANDARD).element(encode_element(*header(**{"minor-version": 1})))


def test_elements_come_in_order() -> None:
    wrong = PeStatus.INVALID_REQUEST_FORMAT
    assert refusal(mf()).status == wrong
    assert refusal(header(), header()).status == wrong
    assert refusal(header(), pin_codes()).status == wrong
    assert refusal(header(), mf(), mf(**{"mf-header": head(7)})).status == wrong
    assert refusal(header(), mf(), end(), puk_codes()).status == wrong
    assert refusal(header(), mf(), puk_codes(), puk_codes()).status == wrong  # one identification twice
    assert refusal(header(), mf(), aka_parameter()).status == PeStatus.INVALID_PARAMETER
    opt = ("opt-usim", {"optusim-header": head(8), "templateID": "2.23.143.1.2.5"})
    assert refusal(header(), mf(), opt).status == wrong


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_package_without_its_end_is_not_finished(count: int) -> None:
    installer = ProfileInstaller(Nvm(), ISDP, STANDARD)
    for element in small()[:count]:
        installer.element(element)
    with pytest.raises(PeError) as caught:
        installer.finish()
    assert caught.value.status == PeStatus.INVALID_REQUEST_FORMAT


def test_what_is_not_supported_is_refused_if_mandated_and_skipped_if_not() -> None:
    plain = replace(STANDARD, uicc_capability=("usimSupport", "akaMilenage"))
    cdma = {"authenticationKey": bytes(8)}
    mandated = ("cdmaParameter", {"cdma-header": head(8)} | cdma)
    error = refusal(header(), mf(), mandated, made=plain)
    assert (error.status, error.identification) == (PeStatus.PE_NOT_SUPPORTED, 8)
    nvm = Nvm()
    elements = small()
    elements.insert(-1, encode_element("cdmaParameter", {"cdma-header": head(8, False)} | cdma))
    install(nvm, elements, made=plain)
    assert not [key for key in nvm.contents() if "cdma" in key]
    no_usim_template = replace(STANDARD, templates=("2.23.143.1.2.1",))
    lean = header(**{"eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1"]})
    assert refusal(lean, mf(), usim(), made=no_usim_template).status == PeStatus.TEMPLATE_NOT_SUPPORTED


def test_wrong_values_are_found_with_their_place() -> None:
    start = (header(), mf())
    error = refusal(*start, puk_codes(**{"maxNumOfAttemps-retryNumLeft": 0x1F}))
    assert (error.status, error.identification) == (PeStatus.BAD_VALUES, 2)
    raw = encode_element(*puk_codes(**{"maxNumOfAttemps-retryNumLeft": 0x1F}))
    assert error.offset == raw.index(b"11111111")
    assert refusal(*start, pin_codes()).status == PeStatus.PIN_CODE_MISSING  # no such PUK
    assert refusal(*start, puk_codes(), pin_codes(keyReference=129)).status == PeStatus.INVALID_PARAMETER
    aka = refusal(*start, usim(), aka_parameter(opc=bytes(15)))
    assert (aka.status, aka.identification) == (PeStatus.BAD_VALUES, 5)
    foreign = replace(STANDARD, uicc_capability=("usimSupport", "akaMilenage", "multipleUsimSupport"))
    test_algorithm = refusal(*start, usim(), aka_parameter(algorithmID=3), made=foreign)
    assert test_algorithm.status == PeStatus.FEATURE_NOT_SUPPORTED


def test_files_that_collide_or_do_not_fit_are_refused() -> None:
    assert refusal(header(), mf(), usim(), usim(7)).status == PeStatus.BAD_VALUES  # the same ADF again
    content = [("fillFileContent", bytes(11))]
    assert refusal(header(), mf(**{"ef-iccid": content})).status == PeStatus.BAD_VALUES
    nothing = [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x00", "efFileSize": b"\x20"})]
    assert refusal(header(), mf(**{"ef-dir": nothing})).status == PeStatus.BAD_VALUES
    big = [("fileDescriptor", {"efFileSize": b"\xff\xff"}), ("fillFileContent", b"\x01")]
    tight = replace(STANDARD, nvm_size=4096)
    assert refusal(header(), mf(), usim(changes={"ef-ust": big}), made=tight).status == PeStatus.NOT_ENOUGH_MEMORY
    huge = [("fileDescriptor", {"efFileSize": b"\x7f\xff\xff\xff"})]
    assert refusal(header(), mf(), usim(changes={"ef-ust": huge})).status == PeStatus.BAD_VALUES


def test_memory_runs_out_with_the_profile_that_is_too_much() -> None:
    nvm = Nvm()
    made = replace(STANDARD, nvm_size=6000)
    install(nvm, small(), made=made)
    before = nvm.contents()

    with pytest.raises(PeError) as caught:
        install(nvm, small(), OTHER, replace(made, nvm_size=nvm.used + 500))
    assert caught.value.status == PeStatus.NOT_ENOUGH_MEMORY
    assert nvm.contents() == before


def test_broken_structure_is_found_where_it_breaks() -> None:
    raw = encode_element(*puk_codes())
    broken = bytearray(raw)
    at = raw.index(b"11111111") - 1
    broken[at] = 0x7F
    assert malformed_at(raw) is None
    assert malformed_at(bytes(broken)) == at - 1
    error = refusal(header(), mf(), bytes(broken))
    assert error.status in (PeStatus.INVALID_REQUEST_FORMAT, PeStatus.BAD_VALUES)
    assert error.offset == at - 1


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_damage_is_a_refusal_and_nothing_else(data: st.DataObject) -> None:
    elements = small()
    index = data.draw(st.integers(0, len(elements) - 1))
    damaged = bytearray(elements[index])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    elements[index] = (
        bytes(damaged[: data.draw(st.integers(1, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    )
    nvm = Nvm()
    try:
        install(nvm, elements)
    except PeError:
        assert nvm.contents() == {}
    else:
        enabled_card(nvm)


# --------------------------------------------------------------------------------------------------------------- TS.48


def ts48() -> Iterator[Path]:
    folder = Path(os.environ.get("ESIM_BENCH_TS48") or Path(__file__).parents[2] / "../shared/data")
    yield from (folder / name for name in ("TS48v1_A.der", "TS48v5_SAIP2.3_NoBERTLV.der"))


@pytest.fixture(params=list(ts48()), ids=lambda path: path.stem)
def package(request: pytest.FixtureRequest) -> list[bytes]:
    path: Path = request.param
    if not path.exists():
        pytest.skip(f"no {path.name}: set ESIM_BENCH_TS48 to the folder of the GSMA TS.48 packages")
    return [element.raw for element in tlv.iterate(path.read_bytes())]


def test_ts48_installs_by_at_least_300_writes_and_shows_its_files(package: list[bytes]) -> None:
    nvm = Nvm()
    install(nvm, package)
    assert nvm.writes >= 300
    card = enabled_card(nvm)
    assert send(card, "00A4000C022FE2") == "9000"
    assert send(card, "00B0000000") == "98001032547698103214" + "9000"
    assert send(card, "00A4040C07A0000000871002") == "9000"
    assert send(card, "00A4000C026F07") == "9000"
    assert send(card, "00B0000000") == "080910101032540636" + "9000"
    assert send(card, "00A4080C022F00") == "9000"
    assert send(card, "00B2010400").startswith("61144F0CA0000000871002FF49FF0589")
    assert send(card, "00A4040C07A0000000871004") == "9000"
    assert send(card, "00A4000C026F02") == "9000"
    assert send(card, "00B0000000").startswith("801D303031303130")


def test_every_file_of_ts48_can_be_selected_and_has_a_size(package: list[bytes]) -> None:
    nvm = Nvm()
    install(nvm, package)
    card = enabled_card(nvm)
    files = card.uicc.files
    nodes = [files.mf]
    count = 0
    while nodes:
        node = nodes.pop()
        nodes += node.children
        count += 1
        if not node.header.is_df:
            assert len(files.read(node)) == node.content_node.header.size
        channel = card.uicc.channels[0]
        channel.start(files.mf)
        channel.adf = next((adf for adf in files.adfs if adf in list(node.up())), None)
        path = node.path[1:]
        if channel.adf is not None:
            path = (0x7FFF, *path[1:])
        if path:
            data = b"".join(fid.to_bytes(2, "big") for fid in path)
            assert send(card, f"00A40804{len(data):02X}{data.hex()}00").endswith("9000")
    assert count > 100


def test_a_cut_of_a_ts48_installation_leaves_nothing_of_it(package: list[bytes]) -> None:
    whole = Nvm()
    install(whole, package)
    for cut in range(0, whole.writes, whole.writes // 8):
        nvm = Nvm()
        nvm.put("euicc/enabled", OTHER)
        nvm.cut_before = 1 + cut
        with pytest.raises(PowerLost):
            install(nvm, package)
        nvm.power_on()
        assert nvm.contents() == {"euicc/enabled": OTHER}
