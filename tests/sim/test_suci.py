"""SUCI: the test data of TS 33.501 annex C, and GET IDENTITY of a simulated USIM (TS 31.102 7.5)."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from esim_bench.codec import tlv
from esim_bench.crypto.agreement import x963_kdf
from esim_bench.crypto.suci import PROFILE_A, PROFILE_B, conceal, msin_bcd
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim.fcp import MF, FileHeader
from esim_drivers.sim.filesystem import file_key
from esim_drivers.sim.installer import ProfileInstaller
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD, Personality
from esim_drivers.sim.pins import Pin, pin_key
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
USIM = "A0000000871002FF49FF0589"
# TS 33.501 C.4.3 and C.4.4: the home network's keys, and what comes of an ephemeral one.
PRIVATE_A = bytes.fromhex("c53c22208b61860b06c62e5406a7b330c2b577aa5558981510d128247d38bd1d")
KEY_A = bytes.fromhex("5a8d38864820197c3394b92613b20b91633cbd897119273bf8e4a6f4eec0a650")
KEY_B = bytes.fromhex("0272da71976234ce833a6907425867b82e074d44ef907dfb4b3e21c1c2256ebcd1")
PLAIN = bytes.fromhex("00012080f6")


def test_profile_a_test_data() -> None:
    ephemeral = bytes.fromhex("c80949f13ebe61af4ebdbd293ea4f942696b9e815d7e8f0096bbf6ed7de62256")
    assert conceal(PROFILE_A, PLAIN, KEY_A, ephemeral).hex() == (
        "b2e92f836055a255837debf850b528997ce0201cb82adfe4be1f587d07d8457d" + "cb02352410" + "cddd9e730ef3fa87"
    )


def test_profile_b_test_data() -> None:
    ephemeral = bytes.fromhex("99798858a1dc6a2c68637149a4b1dbfd1fdff5addd62a2142f06699ed7602529")
    assert conceal(PROFILE_B, PLAIN, KEY_B, ephemeral).hex() == (
        "039aab8376597021e855679a9778ea0b67396e68c66df32c0f41e9acca2da9b9d1" + "46a33fc271" + "6ac7dae96aa30a4d"
    )


def test_wrong_keys_and_schemes_are_named() -> None:
    for scheme, key in ((PROFILE_A, KEY_A[:-1]), (PROFILE_B, b"\x05" + KEY_B[1:]), (PROFILE_B, b"")):
        with pytest.raises(CryptoError):
            conceal(scheme, PLAIN, key, bytes(range(32)))
    with pytest.raises(CodecError):
        conceal(5, PLAIN, KEY_A, bytes(range(32)))


def test_digits_are_swapped_and_filled() -> None:
    assert msin_bcd("001010123456789", 2).hex() == "1032547698"
    assert msin_bcd("310150123456789", 3).hex() == "21436587f9"


def service(*numbers: int) -> bytes:
    table = bytearray(17)
    for number in numbers:
        table[(number - 1) // 8] |= 1 << (number - 1) % 8
    return bytes(table)


def make_card(info: bytes, *, table: bytes = service(124, 125), made: Personality = STANDARD, pin: int = 6) -> UiccCard:
    nvm = Nvm()
    arr, adf, rules = b"\x2f\x06\x01", (MF, 0x7FD0), bytes.fromhex("8001039000")
    files: tuple[tuple[tuple[int, ...], FileHeader, bytes], ...] = (
        ((MF,), FileHeader("df", MF, arr=arr), b""),
        ((MF, 0x2F06), FileHeader("linear", 0x2F06, size=5, record_length=5, arr=arr), rules),
        (adf, FileHeader("adf", 0x7FD0, aid=bytes.fromhex(USIM), arr=arr, pins=b"\x01"), b""),
        ((*adf, 0x6F07), FileHeader("transparent", 0x6F07, size=9, arr=arr), bytes.fromhex("080910101032547698")),
        ((*adf, 0x6F38), FileHeader("transparent", 0x6F38, size=17, arr=arr), table),
        ((*adf, 0x6FAD), FileHeader("transparent", 0x6FAD, size=4, arr=arr), bytes.fromhex("00000002")),
        ((*adf, 0x5FC0), FileHeader("df", 0x5FC0, arr=arr), b""),
        ((*adf, 0x5FC0, 0x4F0A), FileHeader("transparent", 0x4F0A, size=4, arr=arr), bytes.fromhex("21F3FFFF")),
        ((*adf, 0x5FD0), FileHeader("df", 0x5FD0, arr=arr), b""),
        ((*adf, 0x5FD0, 0x4F01), FileHeader("transparent", 0x4F01, size=len(info), arr=arr), info),
    )
    for path, header, content in files:
        nvm.put(file_key(ISDP, path), header.encode() + content)
    nvm.put(pin_key(ISDP, (MF,), 1), Pin(b"0000\xff\xff\xff\xff", pin, 0, 3, 3).encode())
    nvm.put("euicc/enabled", ISDP)
    card = UiccCard(made, nvm)
    card.power_on()
    assert send(card, f"00A4040C0C{USIM}") == "9000"
    return card


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def calc_info(*schemes: tuple[int, int]) -> bytes:
    """Schemes with the indices of their keys, and the keys: 1 is profile A's (identifier 27), 2 profile B's (30)."""
    pairs = b"".join(bytes(pair) for pair in schemes)
    keys = b"".join(
        tlv.encode(0x80, bytes((number,))) + tlv.encode(0x81, key) for number, key in ((27, KEY_A), (30, KEY_B))
    )
    return (tlv.encode(0xA0, pairs) + tlv.encode(0xA1, keys)).ljust(120, b"\xff")


HEAD = "0100F11021F3"  # SUCI of an IMSI, 001/01, routing indicator 123


def test_the_null_scheme_shows_the_msin() -> None:
    card = make_card(calc_info((0, 0)))
    assert send(card, "8078000100") == f"A10D{HEAD}0000" + "1032547698" + "9000"


def test_profile_a_conceals_it_for_the_home_network() -> None:
    card = make_card(calc_info((1, 1), (0, 0)))
    answers = [bytes.fromhex(send(card, "8078000100")) for _ in range(2)]
    assert answers[0] != answers[1]  # each with an ephemeral key of its own
    for answer in answers:
        value = tlv.parse(answer[:-2]).value
        assert value[:8].hex().upper() == HEAD + "011B"
        public, cipher, mac = value[8:40], value[40:-8], value[-8:]
        secret = x25519.X25519PrivateKey.from_private_bytes(PRIVATE_A).exchange(
            x25519.X25519PublicKey.from_public_bytes(public)
        )
        keys = x963_kdf(secret, public, 64)
        assert hmac.digest(keys[32:], cipher, "sha256")[:8] == mac
        decryptor = Cipher(algorithms.AES(keys[:16]), modes.CTR(keys[16:32])).decryptor()
        assert decryptor.update(cipher).hex() == "1032547698"


def test_the_first_scheme_that_the_card_can_do_is_taken() -> None:
    answer = send(make_card(calc_info((2, 2), (1, 1))), "8078000100")
    assert answer[4:].startswith(HEAD + "021E")
    plain = replace(STANDARD, uicc_capability=("usimSupport", "getIdentity", "profile-a-x25519"))
    assert send(make_card(calc_info((2, 2), (1, 1)), made=plain), "8078000100")[4:].startswith(HEAD + "011B")
    assert send(make_card(calc_info((1, 9))), "8078000100")[4:].startswith(HEAD + "0000")  # no such key


def test_the_same_card_gives_the_same_identities() -> None:
    one, other = (make_card(calc_info((1, 1))) for _ in range(2))
    assert send(one, "8078000100") == send(other, "8078000100")


def test_conditions_of_get_identity() -> None:
    card = make_card(calc_info((0, 0)))
    assert send(card, "8078000200") == "6A86"
    assert send(card, "8078010100") == "6A86"
    assert send(card, "8078000101AA00") == "6700"
    assert send(card, "0078000100") == "6E00"
    send(card, "00A4000C023F00")
    assert send(card, "8078000100") == "6985"
    assert send(make_card(calc_info((0, 0)), table=service(124)), "8078000100") == "6985"
    assert send(make_card(calc_info((0, 0)), pin=7), "8078000100") == "6982"
    without = replace(STANDARD, uicc_capability=("usimSupport",))
    assert send(make_card(calc_info((0, 0)), made=without), "8078000100") == "6D00"
    assert send(make_card(b"\xa0\x05\x01"), "8078000100") == "6985"  # a broken file tells nothing


def test_get_identity_on_a_gsma_test_profile(ts48: Callable[[str], Path]) -> None:
    nvm = Nvm()
    installer = ProfileInstaller(nvm, ISDP, STANDARD)
    with nvm.transaction():
        for item in tlv.iterate(ts48("v5").read_bytes()):
            installer.element(item.raw)
    nvm.put("euicc/enabled", ISDP)
    card = UiccCard(STANDARD, nvm)
    card.power_on()
    send(card, f"00A4040C0C{USIM}")
    # IMSI 001010123456063, the null scheme, no routing indicator.
    assert send(card, "8078000100") == "A10D0100F110" + "F0FF" + "0000" + "1032540636" + "9000"
