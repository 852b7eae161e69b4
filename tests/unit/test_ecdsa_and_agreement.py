"""Signatures and key agreement by the known answers of RFC 6979 and RFC 7027."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.crypto import agreement, ecdsa, keys
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CryptoError

# RFC 6979 A.2.5
RFC6979_KEY = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
RFC6979_SIGNATURE = bytes.fromhex(
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)


@pytest.fixture(params=Curve)
def key(request):
    return keys.generate(request.param, SeededRandomness("ecdsa"))


def test_deterministic_signature_is_that_of_rfc_6979():
    assert ecdsa.sign(RFC6979_KEY, b"sample", deterministic=True) == RFC6979_SIGNATURE
    ecdsa.verify(RFC6979_KEY.public_key(), RFC6979_SIGNATURE, b"sample")


def test_sign_and_verify(key):
    for deterministic in (True, False):
        signature = ecdsa.sign(key, b"data", deterministic=deterministic)
        assert len(signature) == 64
        ecdsa.verify(key.public_key(), signature, b"data")
    assert ecdsa.sign(key, b"data", deterministic=True) == ecdsa.sign(key, b"data", deterministic=True)
    assert ecdsa.sign(key, b"data", deterministic=False) != ecdsa.sign(key, b"data", deterministic=False)


def test_a_signature_over_other_data_or_by_another_key_does_not_hold(key):
    signature = ecdsa.sign(key, b"data", deterministic=True)
    with pytest.raises(CryptoError, match="does not hold over 4 bytes"):
        ecdsa.verify(key.public_key(), signature, b"date")
    other = keys.generate(keys.curve_of(key), SeededRandomness("other"))
    with pytest.raises(CryptoError):
        ecdsa.verify(other.public_key(), signature, b"data")


@given(st.one_of(st.binary(max_size=80), st.binary(min_size=64, max_size=64)))
def test_garbage_is_never_a_signature(signature):
    with pytest.raises(CryptoError):
        ecdsa.verify(RFC6979_KEY.public_key(), signature, b"sample")


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32])
def test_zero_and_too_large_halves_are_refused(signature):
    with pytest.raises(CryptoError):
        ecdsa.verify(RFC6979_KEY.public_key(), signature, b"sample")


def test_brainpool_shared_secret_is_that_of_rfc_7027():
    a = ec.derive_private_key(
        0x81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D, Curve.BRAINPOOL.implementation
    )
    b = ec.derive_private_key(
        0x55E40BC41E37E3E2AD25C3C6654511FFA8474A91A0032087593852D3E7D76BD3, Curve.BRAINPOOL.implementation
    )
    z = bytes.fromhex("89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B")
    assert agreement.shared_secret(a, b.public_key()) == z
    assert agreement.shared_secret(b, a.public_key()) == z


def test_both_sides_agree(key):
    other = keys.generate(keys.curve_of(key), SeededRandomness("other"))
    assert agreement.shared_secret(key, other.public_key()) == agreement.shared_secret(other, key.public_key())


def test_keys_of_two_curves_cannot_agree():
    p256 = keys.generate(Curve.P256, SeededRandomness("a"))
    brainpool = keys.generate(Curve.BRAINPOOL, SeededRandomness("b"))
    with pytest.raises(CryptoError, match="keys of different curves: expected secp256r1, found brainpoolP256r1"):
        agreement.shared_secret(p256, brainpool.public_key())
