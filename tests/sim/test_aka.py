"""AUTHENTICATE on installed profiles: keys, sequence numbers and answers of TS 31.102, 31.103 and 33.102."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.codec.saip import Element, encode_element
from esim_bench.crypto.aka import AkaFunctions, authentication_vector, gsm_kc, gsm_sres, open_auts
from esim_bench.crypto.milenage import Milenage
from esim_bench.crypto.tuak import Tuak
from esim_bench.profile_file import load_profile
from esim_drivers.sim.installer import PeError, ProfileInstaller
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.pe_data import PeStatus
from esim_drivers.sim.personality import STANDARD
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
USIM = "A0000000871002"
ISIM = "A0000000871004"
PROFILE = Path(__file__).resolve().parents[2] / "profiles" / "operational-a.toml"
K = bytes.fromhex("A0A1A2A3A4A5A6A7A8A9AAABACADAEAF")
OPC = bytes.fromhex("0A1A2A3A4A5A6A7A8A9AAABACADAEAFA")
MILENAGE = Milenage(K, OPC)
RAND = bytes.fromhex("23553cbe9637a89d218ae64dae47bf35")


def make_card(package: bytes, change: Callable[[Element], bytes] = lambda element: element.raw) -> UiccCard:
    """A card with an enabled package, each of whose elements may be changed before."""
    nvm = Nvm()
    installer = ProfileInstaller(nvm, ISDP, STANDARD)
    with nvm.transaction():
        for item in tlv.iterate(package):
            installer.element(change(Element.parse(item.raw)))
        installer.finish()
    nvm.put("euicc/enabled", ISDP)
    card = UiccCard(STANDARD, Nvm.restore(nvm.snapshot()))
    card.power_on()
    return card


def with_aka(parameters: Mapping[str, Any], **rules: Any) -> UiccCard:
    """A card of our operational profile with other AKA parameters."""

    def change(element: Element) -> bytes:
        if element.kind != "akaParameter":
            return element.raw
        kept = element.value["algoConfiguration"][1]
        value = {"aka-header": element.value["aka-header"], "algoConfiguration": ("algoParameter", kept | parameters)}
        return encode_element("akaParameter", value | rules)

    return make_card(load_profile(PROFILE).upp, change)


@pytest.fixture(scope="module")
def milenage_memory() -> bytes:
    return with_aka({}).nvm.snapshot()


@pytest.fixture
def card(milenage_memory: bytes) -> UiccCard:
    """Our operational profile: Milenage, PIN1 disabled, its USIM selected."""
    card = UiccCard(STANDARD, Nvm.restore(milenage_memory))
    card.power_on()
    select(card)
    return card


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def select(card: UiccCard, aid: str = USIM) -> None:
    assert send(card, f"00A4040C{len(aid) // 2:02X}{aid}") == "9000"


def sqn(seq: int, index: int = 0) -> bytes:
    return (seq << 5 | index).to_bytes(6, "big")


def authenticate(
    card: UiccCard, functions: AkaFunctions, number: bytes, amf: bytes = b"\x80\x00", rand: bytes = RAND, p2: int = 0x81
) -> tuple[list[bytes], str]:
    """Authenticate with a network's vector: the values of the answer after its tag, and tag or status word."""
    vector = authentication_vector(functions, rand, number, amf)
    data = b"\x10" + rand + b"\x10" + vector.autn
    answer = bytes.fromhex(send(card, f"008800{p2:02X}22{data.hex()}00"))
    if answer[-2:] != b"\x90\x00":
        return [], answer.hex().upper()
    values, rest = [], answer[1:-2]
    while rest:
        values.append(rest[1 : 1 + rest[0]])
        rest = rest[1 + rest[0] :]
    return values, answer[:1].hex().upper()


# ---------------------------------------------------------------------------------------------------------- algorithms


def test_a_usim_with_milenage_answers_res_ck_ik(card: UiccCard) -> None:
    values, kind = authenticate(card, MILENAGE, sqn(1))
    assert kind == "DB"
    assert values[:3] == [MILENAGE.f2(RAND), MILENAGE.f3(RAND), MILENAGE.f4(RAND)]


def offer(card: UiccCard, service: int, available: bool) -> None:
    """Write a service of EF.UST (TS 31.102 4.2.8) into the card's memory."""
    key = next(key for key in card.nvm.keys("isdp/") if key.endswith("/6F38"))
    kept = bytearray(card.nvm.get(key) or b"")
    at = len(tlv.parse_prefix(bytes(kept)).raw) + (service - 1) // 8
    bit = 1 << (service - 1) % 8
    kept[at] = kept[at] | bit if available else kept[at] & ~bit
    card.nvm.put(key, bytes(kept))


def test_kc_comes_where_the_service_table_says_gsm_access(card: UiccCard) -> None:
    offer(card, 27, True)
    values, kind = authenticate(card, MILENAGE, sqn(1))
    assert kind == "DB"
    assert values[3:] == [gsm_kc(values[1], values[2])]
    offer(card, 27, False)
    assert len(authenticate(card, MILENAGE, sqn(2))[0]) == 3


def test_the_gsm_context_needs_its_service(card: UiccCard) -> None:
    offer(card, 38, True)
    expected = b"\x04" + gsm_sres(MILENAGE.f2(RAND)) + b"\x08" + gsm_kc(MILENAGE.f3(RAND), MILENAGE.f4(RAND))
    assert send(card, f"0088008011 10{RAND.hex()}00") == expected.hex().upper() + "9000"
    assert send(card, f"0088008022 10{RAND.hex()}10{RAND.hex()}00") == "6700"
    offer(card, 38, False)
    assert send(card, f"0088008011 10{RAND.hex()}00") == "9864"
    assert send(card, f"0088008422 10{RAND.hex()}10{RAND.hex()}00") == "9864"  # GBA


@pytest.mark.parametrize("size", [16, 32])
def test_a_usim_with_tuak(size: int) -> None:
    key, topc = bytes(range(size)), bytes(range(32))
    card = with_aka(
        {"algorithmID": 2, "algorithmOptions": b"\x02", "key": key, "opc": topc, "numberOfKeccak": 2},
        sqnOptions=b"\x02",
    )
    select(card)
    tuak = Tuak(key, topc, res_length=16, iterations=2)
    values, kind = authenticate(card, tuak, sqn(1))
    assert (kind, values[:3]) == ("DB", [tuak.f2(RAND), tuak.f3(RAND), tuak.f4(RAND)])
    assert authenticate(card, tuak, sqn(1))[1] == "DC"


def test_an_operators_own_constants_come_from_the_package() -> None:
    own = Milenage(K, OPC, bytes.fromhex("0102030405"), bytes(range(80)), res_length=4)
    changed = {"rotationConstants": own.rotations, "xoringConstants": own.constants, "algorithmOptions": b"\x00"}
    card = with_aka(changed)
    select(card)
    values, kind = authenticate(card, own, sqn(1))
    assert (kind, values[0]) == ("DB", own.f2(RAND))
    assert len(values[0]) == 4
    assert authenticate(card, MILENAGE, sqn(2)) == ([], "9862")


@pytest.mark.parametrize("version", ["v1", "v5"])
@pytest.mark.parametrize("aid", [USIM, ISIM])
def test_the_gsma_test_profiles_have_the_test_algorithm(ts48: Callable[[str], Path], version: str, aid: str) -> None:
    card = make_card(ts48(version).read_bytes())
    select(card, aid)
    # TS 34.108 8.1.2, computed here by hand: K is 00 01 .. 0F.
    xdout = bytes(key ^ byte for key, byte in zip(range(16), RAND, strict=True))
    number, amf = bytes.fromhex("000000000021"), bytes.fromhex("8000")
    mac = bytes(x ^ c for x, c in zip(xdout[:8], number + amf, strict=True))
    autn = bytes(a ^ s for a, s in zip(xdout[3:9], number, strict=True)) + amf + mac
    answer = bytes.fromhex(send(card, f"0088008122 10{RAND.hex()}10{autn.hex()}00"))
    expected = b"\x10" + xdout + b"\x10" + xdout[1:] + xdout[:1] + b"\x10" + xdout[2:] + xdout[:2]
    assert answer[:1] == b"\xdb"
    assert answer[1 : 1 + len(expected)] == expected
    assert answer[-2:] == b"\x90\x00"
    wrong = autn[:-1] + bytes((autn[-1] ^ 1,))
    assert send(card, f"0088008122 10{RAND.hex()}10{wrong.hex()}00") == "9862"
    # AMF FFFF asks for a resynchronisation: AUTS conceals the highest sequence number that was accepted.
    mac = bytes(x ^ c for x, c in zip(xdout[:8], number + b"\xff\xff", strict=True))
    resync = autn[:6] + b"\xff\xff" + mac
    mac_s = bytes(x ^ c for x, c in zip(xdout[:8], number + bytes(2), strict=True))
    assert send(card, f"0088008122 10{RAND.hex()}10{resync.hex()}00") == (
        "DC0E" + (autn[:6] + mac_s).hex().upper() + "9000"
    )


# ---------------------------------------------------------------------------------------------------- sequence numbers


def test_a_sequence_number_is_accepted_once(card: UiccCard) -> None:
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DB"
    values, kind = authenticate(card, MILENAGE, sqn(1))
    assert kind == "DC"
    assert open_auts(MILENAGE, RAND, values[0]) == sqn(1)
    assert authenticate(card, MILENAGE, sqn(2))[1] == "DB"


def test_each_index_has_its_own_sequence_number(card: UiccCard) -> None:
    assert authenticate(card, MILENAGE, sqn(10, index=3))[1] == "DB"
    assert authenticate(card, MILENAGE, sqn(4, index=5))[1] == "DB"  # later, but another index
    assert authenticate(card, MILENAGE, sqn(4, index=5))[1] == "DC"
    values, kind = authenticate(card, MILENAGE, sqn(9, index=3))
    assert kind == "DC"
    assert open_auts(MILENAGE, RAND, values[0]) == sqn(10, index=3)


def test_a_resynchronised_network_is_accepted(card: UiccCard) -> None:
    assert authenticate(card, MILENAGE, sqn(500, index=31))[1] == "DB"
    values, kind = authenticate(card, MILENAGE, sqn(2, index=31))
    assert kind == "DC"
    told = int.from_bytes(open_auts(MILENAGE, RAND, values[0]), "big")
    assert authenticate(card, MILENAGE, (told + 32).to_bytes(6, "big"))[1] == "DB"


def test_delta_and_age_limit_are_judged_where_the_options_say_so() -> None:
    rules = {"sqnDelta": (100).to_bytes(6, "big"), "sqnAgeLimit": (10).to_bytes(6, "big")}
    init = [(50).to_bytes(6, "big")] * 32
    strict = with_aka({}, sqnOptions=b"\x0e", sqnInit=init, **rules)
    select(strict)
    assert authenticate(strict, MILENAGE, sqn(151))[1] == "DC"  # a jump of more than delta
    assert authenticate(strict, MILENAGE, sqn(150))[1] == "DB"
    assert authenticate(strict, MILENAGE, sqn(139, index=1))[1] == "DC"  # too old
    assert authenticate(strict, MILENAGE, sqn(140, index=1))[1] == "DB"
    plain = with_aka({}, sqnOptions=b"\x02", sqnInit=init, **rules)
    select(plain)
    assert authenticate(plain, MILENAGE, sqn(100000))[1] == "DB"
    assert authenticate(plain, MILENAGE, sqn(50, index=1))[1] == "DC"
    open_to_all = with_aka({}, sqnOptions=b"\x00", sqnInit=init, **rules)
    select(open_to_all)
    assert [authenticate(open_to_all, MILENAGE, sqn(1))[1] for _ in range(2)] == ["DB", "DB"]


def test_a_power_cut_never_gives_an_answer_that_is_not_remembered(card: UiccCard) -> None:
    card.nvm.cut_before = card.nvm.writes
    with pytest.raises(PowerLost):
        authenticate(card, MILENAGE, sqn(1))
    card.power_on()
    select(card)
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DB"
    card.reset()
    select(card)
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DC"


def test_authentications_are_counted_up_to_their_limit() -> None:
    card = with_aka({"authCounterMax": (2).to_bytes(3, "big")})
    select(card)
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DB"
    assert authenticate(card, Milenage(OPC, K), sqn(2))[1] == "9862"
    assert authenticate(card, MILENAGE, sqn(3))[1] == "6984"


def test_a_mapped_application_shares_keys_and_sequence_numbers() -> None:
    aid = bytes.fromhex(ISIM + "FF49FF0589")
    adf = {
        "fileID": b"\x7f\xd1",
        "dfName": aid,
        "pinStatusTemplateDO": b"\x01",
        "securityAttributesReferenced": b"\x04",
    }
    records = {"fileDescriptor": b"\x42\x21\x00\x10", "efFileSize": b"\x10"}
    isim = {
        "isim-header": {"mandated": None, "identification": 900},
        "templateID": "2.23.143.1.2.8",
        "adf-isim": [("fileDescriptor", adf)],
        **{name: [("fileDescriptor", {"efFileSize": b"\x10"})] for name in ("ef-impi", "ef-domain", "ef-ist")},
        **{name: [("fileDescriptor", records)] for name in ("ef-impu", "ef-arr")},
        "ef-ad": [],
    }
    usim_aid: list[bytes] = []

    def change(element: Element) -> bytes:
        if element.kind == "usim":
            usim_aid.append(
                next(part["dfName"] for name, part in element.value["adf-usim"] if name == "fileDescriptor")
            )
        if element.kind != "akaParameter":
            return element.raw
        # The USIM's own parameters, then an ISIM that uses them.
        mapping = ("mappingParameter", {"mappingOptions": b"\x00", "mappingSource": usim_aid[0]})
        header = {"mandated": None, "identification": 901}
        mapped = {"aka-header": header, "algoConfiguration": mapping}
        return element.raw + encode_element("isim", isim) + encode_element("akaParameter", mapped)

    package = b"".join(change(Element.parse(item.raw)) for item in tlv.iterate(load_profile(PROFILE).upp))
    card = make_card(package)
    select(card, ISIM)
    values, kind = authenticate(card, MILENAGE, sqn(5))
    assert (kind, len(values)) == ("DB", 3)
    assert send(card, f"0088008011 10{RAND.hex()}00") == "9864"  # an ISIM has no GSM context
    select(card, USIM)
    assert authenticate(card, MILENAGE, sqn(5))[1] == "DC"
    assert authenticate(card, MILENAGE, sqn(6))[1] == "DB"


@pytest.mark.parametrize(
    ("parameters", "rules"),
    [
        ({}, {"sqnInit": [bytes(6)] * 31 + [bytes.fromhex("080000000000")]}),  # SEQ has 43 bits
        ({}, {"sqnDelta": bytes.fromhex("FFFFFFFFFFFF")}),
        ({}, {"sqnAgeLimit": bytes.fromhex("080000000000")}),
        ({"algorithmID": 2, "opc": bytes(32), "numberOfKeccak": 0}, {}),
        ({"algorithmID": 2}, {}),  # TOPc is longer than OPc
        ({"key": bytes(32)}, {}),
        ({"algorithmID": 4}, {}),
    ],
)
def test_parameters_that_no_card_can_use_are_refused_at_the_installation(
    parameters: dict[str, Any], rules: dict[str, Any]
) -> None:
    with pytest.raises(PeError) as caught:
        with_aka(parameters, **rules)
    assert caught.value.status == PeStatus.BAD_VALUES


# ---------------------------------------------------------------------------------------------------------- conditions


def test_authenticate_belongs_to_the_selected_application(card: UiccCard) -> None:
    send(card, "00A4000C023F00")
    assert authenticate(card, MILENAGE, sqn(1)) == ([], "6985")
    send(card, "00A4000C027FFF")
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DB"


def test_authenticate_needs_the_users_pin(card: UiccCard) -> None:
    assert send(card, "0028000108 30303030FFFFFFFF") == "9000"  # ENABLE PIN verifies it, too
    assert authenticate(card, MILENAGE, sqn(1))[1] == "DB"
    card.reset()
    select(card)
    assert authenticate(card, MILENAGE, sqn(2)) == ([], "6982")
    assert send(card, "0020000108 30303030FFFFFFFF") == "9000"
    assert authenticate(card, MILENAGE, sqn(2))[1] == "DB"


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        ("0088018122", "6A86"),
        ("0088000122", "6A86"),
        ("0088008322", "6A86"),
        ("80880081", "6E00"),
        ("00880081", "6700"),
        (f"0088008111 10{'00' * 16}", "6700"),
        (f"0088008122 0F{'00' * 33}", "6700"),
        (f"0088008122 0F{'00' * 15}11{'00' * 17}", "6A80"),
    ],
)
def test_a_malformed_authenticate_is_refused(card: UiccCard, command: str, sw: str) -> None:
    whole = command if len(command.replace(" ", "")) != 10 else command + "00" * 0x22
    assert send(card, whole) == sw


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.booleans()), max_size=12))
def test_any_order_of_sequence_numbers_agrees_with_the_standards_rule(
    milenage_memory: bytes, steps: list[tuple[int, int, bool]]
) -> None:
    card = UiccCard(STANDARD, Nvm.restore(milenage_memory))
    card.power_on()
    select(card)
    accepted: dict[int, int] = {}
    for seq, index, reset in steps:
        values, kind = authenticate(card, MILENAGE, sqn(seq, index))
        if seq > accepted.get(index, 0):
            accepted[index] = seq
            assert kind == "DB"
        else:
            assert kind == "DC"
            told = int.from_bytes(open_auts(MILENAGE, RAND, values[0]), "big")
            assert told >> 5 == max(accepted.values(), default=0)
        if reset:
            card.power_on()
            select(card)


# ------------------------------------------------------------------------------------------- all files of real packages


def walk(card: UiccCard, adfs: Mapping[str, str]) -> tuple[int, int]:
    """Select every file and read it as its descriptor says: how many EFs there are, and how many could be read."""
    files = readable = 0
    start = len(f"isdp/{ISDP.hex().upper()}/f/")
    for key in card.nvm.keys(f"isdp/{ISDP.hex().upper()}/f/"):
        path = key[start:].split("/")
        if len(path) > 1 and path[1] in adfs:
            select(card, adfs[path[1]])
            path = ["7FFF", *path[2:]]
        else:
            path = path[1:]
        if not path or path == ["7FFF"]:
            continue
        answer = bytes.fromhex(send(card, f"00A40804{2 * len(path):02X}{''.join(path)}00"))
        assert answer[-2:] == b"\x90\x00", key
        members = {item.tag: item.value for item in tlv.parse(answer[:-2]).children()}
        descriptor = members[0x82]
        if descriptor[0] & 0x38 == 0x38:
            continue
        files += 1
        if descriptor[0] & 0x07 == 0x01:
            size = min(int.from_bytes(members[0x80], "big"), 256)
            read = send(card, f"00B00000{size & 0xFF:02X}")
        else:
            size = int.from_bytes(descriptor[2:4], "big")
            read = send(card, f"00B20104{size & 0xFF:02X}")
        assert read[-4:] in ("9000", "6982"), key
        assert read == "6982" or len(read) == 2 * size + 4
        readable += read != "6982"
    return files, readable


@pytest.mark.parametrize("version", ["v1", "v5"])
def test_every_file_of_the_gsma_test_profiles_is_selected_and_read(ts48: Callable[[str], Path], version: str) -> None:
    card = make_card(ts48(version).read_bytes())
    adfs = {f"{node.header.fid:04X}": node.header.aid.hex().upper() for node in card.uicc.files.adfs}
    files, without = walk(card, adfs)
    assert files > 150
    assert send(card, "0020000A08 3535353535353535") == "9000"
    assert send(card, "0020000B08 3636363636363636") == "9000"
    assert walk(card, adfs)[1] >= without > 100
