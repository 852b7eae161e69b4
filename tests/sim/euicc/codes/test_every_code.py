"""Code by code: each result of each ES10 function, reached by commands to a simulated eUICC (SGP.22 5.7).

The codes come from the codec. A code without a way here fails, so does a way to a code that the codec does not know.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from esim_bench.codec.es10 import FUNCTIONS, Tag
from esim_bench.codec.tlv import encode
from esim_drivers.sim.personality import STANDARD

TEST_CLASS = "950100"
PPR1, PPR2 = "99020640", "99020520"

STANDARD_CODES = {
    Tag.SET_DEFAULT_DP_ADDRESS: (0, 127),
    Tag.AUTHENTICATE_SERVER: (1, 2, 3, 4, 5, 6, 7, 127),
    Tag.PREPARE_DOWNLOAD: (1, 2, 3, 4, 5, 127),
    Tag.CANCEL_SESSION: (5, 127),
    Tag.LIST_NOTIFICATION: (127,),
    Tag.RETRIEVE_NOTIFICATIONS_LIST: (1, 127),
    Tag.REMOVE_NOTIFICATION_FROM_LIST: (0, 1, 127),
    Tag.LOAD_CRL: (1, 2, 3, 4, 5, 6, 127),
    Tag.LPAE_ACTIVATION: (0, 1),
    Tag.GET_PROFILES_INFO: (1, 127),
    Tag.ENABLE_PROFILE: (0, 1, 2, 3, 4, 5, 127),
    Tag.DISABLE_PROFILE: (0, 1, 2, 3, 5, 127),
    Tag.DELETE_PROFILE: (0, 1, 2, 3, 127),
    Tag.EUICC_MEMORY_RESET: (0, 1, 5, 127),
    Tag.SET_NICKNAME: (0, 1, 127),
}
"""What the standard has; the codec's table must have no less and no more."""

WAYS = {}


def way(tag, code):
    def register(function):
        assert (tag, code) not in WAYS
        WAYS[tag, code] = function
        return function

    return register


def code_of(response):
    """The result code of any of these answers: INTEGER 80 or 81, or 02 in A1 behind the transaction id."""
    member = response.children()[0]
    if member.tag == 0xA1:
        transaction, member = member.children()
        assert (transaction.tag, member.tag) == (0x80, 0x02)
    assert member.tag in (0x80, 0x81, 0x02)
    return int.from_bytes(member.value, "big", signed=True)


# ------------------------------------------------------------------------------------------------------ addresses


@way(Tag.SET_DEFAULT_DP_ADDRESS, 0)
def _(bench):
    return bench.card().es10(encode(0xBF3F, encode(0x80, b"dp.example.com")))


@way(Tag.SET_DEFAULT_DP_ADDRESS, 127)
def _(bench):
    """Text that is not UTF-8."""
    return bench.card().es10("BF3F048002C328")


# ------------------------------------------------------------------------------------------------------ sessions


@way(Tag.AUTHENTICATE_SERVER, 1)
def _(bench):
    """A certificate that the CI has revoked."""
    card = bench.card()
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate])
    return bench.lpa(card).authenticate()


@way(Tag.AUTHENTICATE_SERVER, 2)
def _(bench):
    return bench.lpa(bench.card()).authenticate(signature=encode(0x5F37, bytes(64)))


@way(Tag.AUTHENTICATE_SERVER, 3)
def _(bench):
    """A server's key on a curve that RSP does not use."""
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = bench.reissued(bench.pki, bench.pki.smdp_auth.certificate, key=key)
    return bench.lpa(bench.card()).authenticate(certificate=certificate)


@way(Tag.AUTHENTICATE_SERVER, 4)
def _(bench):
    """No challenge was asked for."""
    card = bench.card()
    return card.es10(bench.lpa(card).server.authenticate_server(bytes(16)))


@way(Tag.AUTHENTICATE_SERVER, 5)
def _(bench):
    """A certificate without the SM-DP+'s OID."""
    certificate = bench.reissued(bench.pki, bench.pki.smdp_auth.certificate, without_name=True)
    return bench.lpa(bench.card()).authenticate(certificate=certificate)


@way(Tag.AUTHENTICATE_SERVER, 6)
def _(bench):
    card = bench.card()
    card.es10("BF2E00")
    return card.es10(bench.lpa(card).server.authenticate_server(bytes(16)))


@way(Tag.AUTHENTICATE_SERVER, 7)
def _(bench):
    """A CI under which this eUICC has no key."""
    return bench.lpa(bench.card()).authenticate(ci_key_id=bench.foreign.ci_key.key_id)


@way(Tag.AUTHENTICATE_SERVER, 127)
def _(bench):
    """serverSigned1 without a challenge: a transaction, but not one that can be judged."""
    card = bench.card()
    challenge = card.es10("BF2E00").get(0x80).value
    request = bench.lpa(card).server.authenticate_server(challenge)
    return card.es10(request.replace(b"\x81\x10" + challenge, b"\x85\x10" + challenge))


@way(Tag.PREPARE_DOWNLOAD, 1)
def _(bench):
    """A certificate that the CI revoked after the authentication."""
    card = bench.card()
    lpa = bench.lpa(card)
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    bench.load_crl(card, 1, [bench.pki.smdp_pb.certificate])
    return card.es10(lpa.server.prepare_download(signature1))


@way(Tag.PREPARE_DOWNLOAD, 2)
def _(bench):
    return bench.lpa(bench.card()).prepare(signature=encode(0x5F37, bytes(64)))


@way(Tag.PREPARE_DOWNLOAD, 3)
def _(bench):
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = bench.reissued(bench.pki, bench.pki.smdp_pb.certificate, key=key)
    return bench.lpa(bench.card()).prepare(certificate=certificate)


@way(Tag.PREPARE_DOWNLOAD, 4)
def _(bench):
    card = bench.card()
    return card.es10(bench.lpa(card).server.prepare_download(b""))


@way(Tag.PREPARE_DOWNLOAD, 5)
def _(bench):
    """Everything right but the transaction."""
    card = bench.card()
    lpa = bench.lpa(card)
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    lpa.server.transaction = b"another"
    return card.es10(lpa.server.prepare_download(signature1))


@way(Tag.PREPARE_DOWNLOAD, 127)
def _(bench):
    """The confirmation code is missing."""
    return bench.lpa(bench.card()).prepare(code_required=True)


@way(Tag.CANCEL_SESSION, 5)
def _(bench):
    return bench.card().es10("BF4106800101810100")


@way(Tag.CANCEL_SESSION, 127)
def _(bench):
    """Reason 6 is none."""
    card = bench.card()
    lpa = bench.lpa(card)
    lpa.authenticate()
    return card.es10(encode(0xBF41, encode(0x80, lpa.server.transaction), b"\x81\x01\x06"))


# ------------------------------------------------------------------------------------------------------ notifications


@way(Tag.LIST_NOTIFICATION, 127)
def _(bench):
    """Nine unused bits in a byte."""
    return bench.card().es10("BF280481020980")


@way(Tag.RETRIEVE_NOTIFICATIONS_LIST, 1)
def _(bench):
    """An eUICC of the standard's first editions, which has none."""
    return bench.card(personality=replace(STANDARD, empty_list_is_error=True)).es10("BF2B00")


@way(Tag.RETRIEVE_NOTIFICATIONS_LIST, 127)
def _(bench):
    return bench.card().es10("BF2B04A0028000")


@way(Tag.REMOVE_NOTIFICATION_FROM_LIST, 0)
def _(bench):
    card = bench.card()
    number = bench.download(card, 1).get(0xBF27, 0xBF2F, 0x80).raw
    return card.es10(encode(0xBF30, number))


@way(Tag.REMOVE_NOTIFICATION_FROM_LIST, 1)
def _(bench):
    return bench.card().es10("BF3003800109")


@way(Tag.REMOVE_NOTIFICATION_FROM_LIST, 127)
def _(bench):
    return bench.card().es10("BF30028000")


# ------------------------------------------------------------------------------------------------------ LoadCRL


@way(Tag.LOAD_CRL, 1)
def _(bench):
    """One bit of the signature is another."""
    crl = bench.crl(bench.pki, 1)
    return bench.card().es10(encode(0xBF35, crl[:-1] + bytes((crl[-1] ^ 1,))))


@way(Tag.LOAD_CRL, 2)
def _(bench):
    """No CRL number."""
    return bench.load_crl(bench.card(), None)


@way(Tag.LOAD_CRL, 3)
def _(bench):
    card = bench.card()
    small = bench.card(personality=replace(STANDARD, nvm_size=card.nvm.used + 60))
    return bench.load_crl(small, 1, [bench.pki.smdp_pb.certificate])


@way(Tag.LOAD_CRL, 4)
def _(bench):
    """Of a CI that the eUICC does not know."""
    return bench.load_crl(bench.card(), 1, pki=bench.foreign)


@way(Tag.LOAD_CRL, 5)
def _(bench):
    card = bench.card()
    bench.load_crl(card, 8)
    return bench.load_crl(card, 7)


@way(Tag.LOAD_CRL, 6)
def _(bench):
    """A delta CRL to a base that was never loaded."""
    return bench.load_crl(bench.card(), 8, base=7)


@way(Tag.LOAD_CRL, 127)
def _(bench):
    """An eUICC without crlSupport."""
    return bench.load_crl(bench.card(personality=replace(STANDARD, rsp_capability=("additionalProfile",))), 1)


@way(Tag.LPAE_ACTIVATION, 0)
def _(bench):
    return bench.card(personality=replace(STANDARD, lpae_support=("lpaeUsingCat",))).es10("BF420480020780")


@way(Tag.LPAE_ACTIVATION, 1)
def _(bench):
    return bench.card().es10("BF420480020780")


# ------------------------------------------------------------------------------------------------------ profiles


@way(Tag.GET_PROFILES_INFO, 1)
def _(bench):
    """A search criterion that there is not."""
    return bench.card(1).es10("BF2D05A003800100")


@way(Tag.GET_PROFILES_INFO, 127)
def _(bench):
    """A search criterion that is no data object."""
    return bench.card(1).es10("BF2D04A0025A05")


def switches(tag):
    """The codes that EnableProfile and DisableProfile share."""

    def state(bench, card):
        if tag == Tag.DISABLE_PROFILE:
            assert code_of(card.es10(bench.switch(0xBF31, 1, refresh=False))) == 0
        return card

    @way(tag, 0)
    def _(bench):
        return state(bench, bench.card(1)).es10(bench.switch(tag, 1))

    @way(tag, 1)
    def _(bench):
        return bench.card(1).es10(bench.switch(tag, 9))

    @way(tag, 5)
    def _(bench):
        """The REFRESH of the switch before it still waits to be fetched."""
        card = bench.card(1, 2)
        assert code_of(card.es10(bench.switch(0xBF31, 2 if tag == Tag.ENABLE_PROFILE else 1))) == 0
        assert card.proactive
        return card.es10(bench.switch(tag, 1))

    @way(tag, 127)
    def _(bench):
        """The memory for the profiles' states takes no more writes."""
        card = state(bench, bench.card(1))
        worn = replace(STANDARD, worn_memory=("euicc/isdp/",))
        card = type(card)(card.identity, worn, card.nvm)
        before = card.nvm.contents()
        response = card.es10(bench.switch(tag, 1))
        assert card.nvm.contents() == before
        return response


switches(Tag.ENABLE_PROFILE)
switches(Tag.DISABLE_PROFILE)


@way(Tag.ENABLE_PROFILE, 2)
def _(bench):
    card = bench.card(1)
    card.es10(bench.switch(0xBF31, 1, refresh=False))
    return card.es10(bench.switch(0xBF31, 1))


@way(Tag.ENABLE_PROFILE, 3)
def _(bench):
    """PPR1 of the enabled profile."""
    card = bench.card((1, PPR1), 2)
    card.es10(bench.switch(0xBF31, 1, refresh=False))
    return card.es10(bench.switch(0xBF31, 2))


@way(Tag.ENABLE_PROFILE, 4)
def _(bench):
    """After a test profile, not the operational one from before it."""
    card = bench.card(1, 2, (3, TEST_CLASS))
    for number in (1, 3):
        assert code_of(card.es10(bench.switch(0xBF31, number, refresh=False))) == 0
    return card.es10(bench.switch(0xBF31, 2))


@way(Tag.DISABLE_PROFILE, 2)
def _(bench):
    return bench.card(1).es10(bench.switch(0xBF32, 1))


@way(Tag.DISABLE_PROFILE, 3)
def _(bench):
    card = bench.card((1, PPR1), 2)
    card.es10(bench.switch(0xBF31, 1, refresh=False))
    return card.es10(bench.switch(0xBF32, 1))


@way(Tag.DELETE_PROFILE, 0)
def _(bench):
    return bench.card(1).es10(encode(0xBF33, encode(0x5A, bench.iccid(1))))


@way(Tag.DELETE_PROFILE, 1)
def _(bench):
    return bench.card(1).es10(encode(0xBF33, encode(0x4F, bytes(16))))


@way(Tag.DELETE_PROFILE, 2)
def _(bench):
    card = bench.card(1)
    card.es10(bench.switch(0xBF31, 1, refresh=False))
    return card.es10(encode(0xBF33, encode(0x5A, bench.iccid(1))))


@way(Tag.DELETE_PROFILE, 3)
def _(bench):
    """PPR2 of the profile."""
    return bench.card((1, PPR2)).es10(encode(0xBF33, encode(0x5A, bench.iccid(1))))


@way(Tag.DELETE_PROFILE, 127)
def _(bench):
    """Neither an ICCID nor an AID."""
    return bench.card(1).es10("BF3303800101")


@way(Tag.EUICC_MEMORY_RESET, 0)
def _(bench):
    return bench.card(1).es10("BF340482020780")


@way(Tag.EUICC_MEMORY_RESET, 1)
def _(bench):
    return bench.card(1).es10("BF340482020640")


@way(Tag.EUICC_MEMORY_RESET, 5)
def _(bench):
    card = bench.card(1)
    card.es10(bench.switch(0xBF31, 1))
    return card.es10("BF340482020780")


@way(Tag.EUICC_MEMORY_RESET, 127)
def _(bench):
    """No options at all."""
    return bench.card(1).es10("BF3400")


@way(Tag.SET_NICKNAME, 0)
def _(bench):
    return bench.card(1).es10(encode(0xBF29, encode(0x5A, bench.iccid(1)), encode(0x90, "Büro".encode())))


@way(Tag.SET_NICKNAME, 1)
def _(bench):
    return bench.card(1).es10(encode(0xBF29, encode(0x5A, bench.iccid(9)), encode(0x90, b"x")))


@way(Tag.SET_NICKNAME, 127)
def _(bench):
    """65 bytes, although they are only 33 characters."""
    name = ("x" + 32 * "ü").encode()
    return bench.card(1).es10(encode(0xBF29, encode(0x5A, bench.iccid(1)), encode(0x90, name)))


# ------------------------------------------------------------------------------------------------------ the tables


def test_the_codec_knows_the_codes_of_the_standard():
    assert {tag: tuple(function.results) for tag, function in FUNCTIONS.items() if function.results} == STANDARD_CODES


def test_every_code_has_a_way():
    known = [(tag, code) for tag, function in FUNCTIONS.items() for code in function.results]
    assert sorted(WAYS) == sorted(known)


@pytest.mark.parametrize(
    ("tag", "code"), WAYS, ids=[f"{FUNCTIONS[tag].name}-{FUNCTIONS[tag].results.get(code)}" for tag, code in WAYS]
)
def test_the_code_is_reached(bench, tag, code):
    response = WAYS[tag, code](bench)
    assert response.tag == tag
    assert code_of(response) == code
