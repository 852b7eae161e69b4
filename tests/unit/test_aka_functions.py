"""The authentication functions against their published test sets, and the tokens that networks and USIMs exchange."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.crypto.aka import AkaFunctions, authentication_vector, gsm_kc, gsm_sres, make_auts, open_autn, open_auts
from esim_bench.crypto.milenage import Milenage, derive_opc
from esim_bench.crypto.tuak import Tuak, derive_topc
from esim_bench.crypto.usim_test_algorithm import UsimTestAlgorithm
from esim_bench.errors import CodecError, CryptoError

# Test set 1 of TS 35.207 and TS 35.208.
K = bytes.fromhex("465b5ce8b199b49faa5f0a2ee238a6bc")
RAND = bytes.fromhex("23553cbe9637a89d218ae64dae47bf35")
SQN = bytes.fromhex("ff9bb4d0b607")
AMF = bytes.fromhex("b9b9")
OP = bytes.fromhex("cdc202d5123e20f62b6d676ac72cb318")
OPC = bytes.fromhex("cd63cb71954a9f4e48a5994e37a02baf")


def test_milenage_test_set_1() -> None:
    assert derive_opc(K, OP) == OPC
    milenage = Milenage(K, OPC)
    assert milenage.f1(RAND, SQN, AMF).hex() == "4a9ffac354dfafb3"
    assert milenage.f1_star(RAND, SQN, AMF).hex() == "01cfaf9ec4e871e9"
    assert milenage.f2(RAND).hex() == "a54211d5e3ba50bf"
    assert milenage.f3(RAND).hex() == "b40ba9a3c58b2a05bbf0d987b21bf8cb"
    assert milenage.f4(RAND).hex() == "f769bcd751044604127672711c6d3441"
    assert milenage.f5(RAND).hex() == "aa689c648370"
    assert milenage.f5_star(RAND).hex() == "451e8beca43b"
    assert Milenage(K, OPC, res_length=4).f2(RAND).hex() == "a54211d5"


def test_gsm_keys_of_milenage_test_set_1() -> None:
    # GSM-Milenage of TS 55.205 gives the same as c2 and c3 here.
    milenage = Milenage(K, OPC)
    assert gsm_sres(milenage.f2(RAND)).hex() == "46f8416a"
    assert gsm_kc(milenage.f3(RAND), milenage.f4(RAND)).hex() == "eae4be823af9a08b"


def test_an_operators_own_rotations_and_constants_change_what_they_belong_to() -> None:
    plain = Milenage(K, OPC)
    turned = Milenage(K, OPC, rotations=bytes.fromhex("4000204068"))
    other = Milenage(K, OPC, constants=plain.constants[:32] + bytes(16) + plain.constants[48:])
    assert turned.f5_star(RAND) != plain.f5_star(RAND)
    assert turned.f4(RAND) == plain.f4(RAND)
    assert other.f3(RAND) != plain.f3(RAND)
    assert other.f1(RAND, SQN, AMF) == plain.f1(RAND, SQN, AMF)


def test_tuak_test_set_1() -> None:
    key = bytes.fromhex("ab" * 16)
    topc = derive_topc(key, bytes.fromhex("55" * 32))
    assert topc.hex() == "bd04d9530e87513c5d837ac2ad954623a8e2330c115305a73eb45d1f40cccbff"
    tuak, rand = Tuak(key, topc, res_length=4), bytes.fromhex("42" * 16)
    sqn, amf = bytes.fromhex("11" * 6), b"\xff\xff"
    assert tuak.f1(rand, sqn, amf).hex() == "f9a54e6aeaa8618d"
    assert tuak.f1_star(rand, sqn, amf).hex() == "e94b4dc6c7297df3"
    assert tuak.f2(rand).hex() == "657acd64"
    assert tuak.f3(rand).hex() == "d71a1e5c6caffe986a26f783e5c78be1"
    assert tuak.f4(rand).hex() == "be849fa2564f869aecee6f62d4337e72"
    assert tuak.f5(rand).hex() == "719f1e9b9054"
    assert tuak.f5_star(rand).hex() == "e7af6b3d0e38"


def test_tuak_lengths_iterations_and_long_keys_are_parts_of_what_comes_out() -> None:
    rand = bytes(16)
    short, long = Tuak(bytes(16), bytes(32)), Tuak(bytes(32), bytes(32), res_length=32, ck_length=32, ik_length=32)
    assert [len(long.f2(rand)), len(long.f3(rand)), len(long.f4(rand))] == [32, 32, 32]
    assert short.f5(rand) != long.f5(rand)
    assert Tuak(bytes(16), bytes(32), iterations=2).f2(rand) != short.f2(rand)


def test_the_test_algorithm_is_an_exclusive_or() -> None:
    # TS 34.108 8.1.2 by hand: XDOUT = K xor RAND = 0F 0E .. 00 with these.
    algorithm = UsimTestAlgorithm(bytes(range(16)))
    rand = bytes([0x0F] * 16)
    assert algorithm.f2(rand).hex() == "0f0e0d0c0b0a09080706050403020100"
    assert algorithm.f3(rand).hex() == "0e0d0c0b0a090807060504030201000f"
    assert algorithm.f4(rand).hex() == "0d0c0b0a090807060504030201000f0e"
    assert algorithm.f5(rand).hex() == "0c0b0a090807"
    assert algorithm.f1(rand, bytes.fromhex("000000000001"), b"\x80\x00").hex() == "0f0e0d0c0b0b8908"


@pytest.mark.parametrize(
    "functions", [Milenage(K, OPC), Tuak(K, OP + OPC), UsimTestAlgorithm(K)], ids=["milenage", "tuak", "test"]
)
def test_what_a_network_and_a_usim_tell_each_other_is_understood(functions: AkaFunctions) -> None:
    vector = authentication_vector(functions, RAND, SQN, AMF)
    assert open_autn(functions, RAND, vector.autn) == (SQN, AMF)
    assert (vector.xres, vector.ck, vector.ik) == (functions.f2(RAND), functions.f3(RAND), functions.f4(RAND))
    auts = make_auts(functions, RAND, SQN)
    assert open_auts(functions, RAND, auts) == SQN
    for token, opened in ((vector.autn, open_autn), (auts, open_auts)):
        for at in range(len(token)):
            with pytest.raises(CryptoError):
                opened(functions, RAND, token[:at] + bytes((token[at] ^ 0x10,)) + token[at + 1 :])


def test_wrong_lengths_are_named() -> None:
    milenage = Milenage(K, OPC)
    for call in (
        lambda: Milenage(K[:-1], OPC),
        lambda: Milenage(K, OPC, rotations=bytes(4)),
        lambda: Milenage(K, OPC, res_length=9),
        lambda: milenage.f2(RAND[:-1]),
        lambda: milenage.f1(RAND, SQN[:-1], AMF),
        lambda: derive_opc(K, OP[:-1]),
        lambda: Tuak(K, OPC),
        lambda: Tuak(K, OP + OPC, iterations=0),
        lambda: Tuak(K, OP + OPC).f2(b""),
        lambda: derive_topc(K, OP),
        lambda: UsimTestAlgorithm(OP + OPC),
        lambda: UsimTestAlgorithm(K, 3),
        lambda: UsimTestAlgorithm(K).f1(RAND, SQN, b""),
        lambda: UsimTestAlgorithm(K).f2(b""),
        lambda: open_autn(milenage, RAND, bytes(15)),
        lambda: open_auts(milenage, RAND, bytes(13)),
    ):
        with pytest.raises(CodecError):
            call()


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.binary(min_size=6, max_size=6))
def test_any_vector_opens_with_its_own_key_only(key: bytes, rand: bytes, sqn: bytes) -> None:
    vector = authentication_vector(Milenage(key, OPC), rand, sqn)
    assert open_autn(Milenage(key, OPC), rand, vector.autn)[0] == sqn
    other = bytes((key[0] ^ 1,)) + key[1:]
    with pytest.raises(CryptoError):
        open_autn(Milenage(other, OPC), rand, vector.autn)
