"""Code by code: the result of each eCO of eUICC Packages, reached by commands to a simulated eUICC (SGP.32 2.11.2.1).

The codes come from the codec. A code without a way here fails, so does a way to a code that the codec does not know.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.codec import euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.euicc_operations import (
    AddEim,
    DeleteEim,
    ListEim,
    UnknownOperation,
    UpdateEim,
)
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.euicc_results import RESULTS

OTHER = "testeim2.example.com"
ECOS = ("addEim", "deleteEim", "updateEim", "listEim")
WAYS = {}
UNREACHABLE = {("deleteEim", 7), ("deleteEim", 127), ("listEim", 127)}
"""Deleting takes no memory, and reading needs none."""


def way(what, code):
    def register(function):
        assert (what, code) not in WAYS
        WAYS[what, code] = function
        return function

    return register


def last(card, package):
    """Function and code of the last result of a package."""
    result = card.load(package)
    assert isinstance(result, SignedResult)
    return result.results[-1].function, result.results[-1].code


def other_key():
    """A key on a curve that RSP does not use."""
    key = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    return KeyData(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def add(iot, **changes):
    make = changes.pop("make", {})
    card, eim = iot.associated(personality=iot.personality(**make))
    return last(card, eim.package(AddEim(iot.Eim(OTHER).configuration(**changes))))


@way("addEim", 0)
def _(iot):
    return add(iot)


@way("addEim", 1)
def _(iot):
    return add(iot, make={"max_eims": 1})


@way("addEim", 2)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(AddEim(eim.configuration())))


@way("addEim", 3)
def _(iot):
    return add(iot, ci_pk_id=bytes(20))


@way("addEim", 5)
def _(iot):
    return add(iot, association_token=1)


@way("addEim", 6)
def _(iot):
    return add(iot, counter=0x800000)


@way("addEim", 7)
def _(iot):
    """Without a key it could never prove anything."""
    return add(iot, public_key=None)


@way("addEim", 127)
def _(iot):
    card, eim = iot.associated()
    card.nvm.worn = ("iot/eim/" + OTHER.encode().hex().upper(),)
    return last(card, eim.package(AddEim(iot.Eim(OTHER).configuration())))


def two_eims(iot):
    card, eim = iot.card(), iot.Eim()
    card.add(eim.configuration(), iot.Eim(OTHER).configuration())
    return card, eim


@way("deleteEim", 0)
def _(iot):
    card, eim = two_eims(iot)
    return last(card, eim.package(DeleteEim(OTHER)))


@way("deleteEim", 1)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(DeleteEim(OTHER)))


@way("deleteEim", 2)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(DeleteEim(eim.eim_id)))


def update(iot, **changes):
    card, eim = iot.associated()
    eim.counter = 10
    if changes.get("public_key") == "the old one":
        changes["public_key"] = eim.public_key
    return last(card, eim.package(UpdateEim(EimConfigurationData(changes.pop("name", eim.eim_id), **changes))))


@way("updateEim", 0)
def _(iot):
    return update(iot, fqdn="new.example.com")


@way("updateEim", 1)
def _(iot):
    return update(iot, name=OTHER, fqdn="new.example.com")


@way("updateEim", 3)
def _(iot):
    return update(iot, ci_pk_id=bytes(20))


@way("updateEim", 6)
def _(iot):
    return update(iot, counter=0x800000)


@way("updateEim", 7)
def _(iot):
    return update(iot)


@way("updateEim", 127)
def _(iot):
    card, eim = two_eims(iot)
    card.nvm.worn = ("iot/eim/" + OTHER.encode().hex().upper(),)
    return last(card, eim.package(UpdateEim(EimConfigurationData(OTHER, fqdn="new.example.com"))))


@way("listEim", 0)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(ListEim()))


# ------------------------------------------------------------------------------------------------------ the table


def test_every_code_has_a_way_or_a_reason():
    known = {(name, code) for name in ECOS for code in RESULTS[name]}
    assert set(WAYS) | UNREACHABLE == known
    assert not set(WAYS) & UNREACHABLE


@pytest.mark.parametrize(("name", "code"), WAYS, ids=[f"{name}-{RESULTS[name].get(code)}" for name, code in WAYS])
def test_the_code_is_reached(iot, name, code):
    assert WAYS[name, code](iot) == (name, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"association_token": -1},
        {"association_token": 5, "fqdn": "new.example.com"},
        {"counter": 9},
        {"counter": 9, "public_key": "the old one"},
        {"public_key": other_key()},
        {"id_type": 4},
    ],
    ids=["a new token", "a token", "a lower counter", "a lower counter, no new key", "another curve", "another kind"],
)
def test_an_update_that_makes_no_sense_is_a_command_error(iot, changes):
    if "id_type" in changes:
        # The codec does not build it: the byte is changed before the package is signed.
        card, eim = iot.associated()
        good = UpdateEim(EimConfigurationData(eim.eim_id, id_type=3)).encode()
        signed = euicc_package.package_signed(
            eim.eim_id, eim.eid, 1, [UnknownOperation(good.replace(b"\x82\x01\x03", b"\x82\x01\x04"))], list_tag=0xA1
        )
        assert last(card, eim.sign(signed, eim.token)) == ("updateEim", 7)
    else:
        assert update(iot, **changes) == ("updateEim", 7)
