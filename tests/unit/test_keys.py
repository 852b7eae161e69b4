"""Keys: seeded generation, points as on the wire, and every form in which people keep private keys."""

import contextlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.crypto import keys
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness, SystemRandomness
from esim_bench.errors import CodecError, CryptoError

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, SEC1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()


@pytest.fixture(params=Curve)
def curve(request):
    return request.param


def scalar(key):
    return key.private_numbers().private_value


def test_the_same_seed_gives_the_same_key(curve):
    first, again = (keys.generate(curve, SeededRandomness("seed")) for _ in range(2))
    other = keys.generate(curve, SeededRandomness("other"))
    assert scalar(first) == scalar(again) != scalar(other)
    assert keys.curve_of(first) is curve


def test_the_systems_randomness_gives_other_keys_each_time(curve):
    first, second = (keys.generate(curve, SystemRandomness()) for _ in range(2))
    assert scalar(first) != scalar(second)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_extreme_randomness_still_gives_a_scalar_of_the_curve(curve, byte):
    class Constant(SystemRandomness):
        def bytes(self, length):
            return byte * length

    assert 1 <= scalar(keys.generate(curve, Constant())) < curve.order


def test_point_and_back(curve):
    key = keys.generate(curve, SeededRandomness("point"))
    data = keys.point(key.public_key())
    assert len(data) == 65
    assert data[0] == 4
    assert keys.point(key) == data
    assert keys.from_point(curve, data) == key.public_key()


@given(st.one_of(st.binary(max_size=70), st.binary(min_size=64, max_size=64).map(lambda body: b"\x04" + body)))
def test_what_is_no_point_is_refused(data):
    with pytest.raises(CodecError):
        keys.from_point(Curve.P256, data)


def test_a_point_of_the_other_curve_is_refused(curve):
    other = next(item for item in Curve if item is not curve)
    with pytest.raises(CodecError, match="not a point of the curve: expected a point of"):
        keys.from_point(curve, keys.point(keys.generate(other, SeededRandomness("x"))))


@pytest.mark.parametrize(("encoding", "form"), [(PEM, PKCS8), (PEM, SEC1), (DER, PKCS8), (DER, SEC1)])
def test_every_usual_form_of_a_private_key_is_read(curve, encoding, form):
    key = keys.generate(curve, SeededRandomness("form"))
    assert scalar(keys.load_private(key.private_bytes(encoding, form, PLAIN))) == scalar(key)


def test_an_ec_parameters_block_and_other_text_may_stand_before_the_key():
    # As "openssl ecparam -genkey" writes it; this is the brainpoolP256r1 OID.
    key = keys.generate(Curve.BRAINPOOL, SeededRandomness("parameters"))
    text = (
        b"Bag Attributes\n-----BEGIN EC PARAMETERS-----\r\nBgkrJAMDAggBAQc=\r\n-----END EC PARAMETERS-----\r\n"
        + key.private_bytes(PEM, SEC1, PLAIN).replace(b"\n", b"\r\n")
    )
    assert scalar(keys.load_private(text)) == scalar(key)


def test_own_pem_can_be_read_again(curve):
    key = keys.generate(curve, SeededRandomness("pem"))
    assert scalar(keys.load_private(keys.private_to_pem(key))) == scalar(key)
    assert b"BEGIN PUBLIC KEY" in keys.public_to_pem(key.public_key())


def test_an_encrypted_key_is_refused_with_a_way_out():
    key = keys.generate(Curve.P256, SeededRandomness("secret"))
    pem = key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"pass"))
    with pytest.raises(CodecError, match=r"ci/key.pem: the private key is encrypted.*openssl pkey"):
        keys.load_private(pem, "ci/key.pem")


def test_keys_that_rsp_does_not_use_are_refused():
    p384 = ec.generate_private_key(ec.SECP384R1()).private_bytes(DER, PKCS8, PLAIN)
    with pytest.raises(CryptoError, match="expected secp256r1 or brainpoolP256r1, found secp384r1"):
        keys.load_private(p384)
    with pytest.raises(CryptoError, match="not an elliptic curve key: found RSA"):
        keys.load_private(rsa.generate_private_key(65537, 2048).private_bytes(DER, PKCS8, PLAIN))


@given(st.binary(max_size=200))
def test_garbage_is_not_a_key(data):
    with pytest.raises((CodecError, CryptoError)):
        keys.load_private(data)


@given(st.integers(0, 137), st.integers(1, 255))
def test_a_damaged_key_is_an_error_of_ours_or_still_a_key(index, difference):
    data = bytearray(keys.generate(Curve.P256, SeededRandomness("damage")).private_bytes(DER, PKCS8, PLAIN))
    data[index] ^= difference
    with contextlib.suppress(CodecError, CryptoError):
        keys.load_private(bytes(data))
