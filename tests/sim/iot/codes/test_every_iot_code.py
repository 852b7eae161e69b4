"""Code by code: each error of eUICC Packages, and each result of the IPA's functions for eIMs, certificates and lists,
reached by commands to a simulated IoT eUICC (SGP.32 2.11, 5.9).

The codes come from the codec. A code without a way here fails, so does a way to a code that the codec does not know.
"""

import pytest

from esim_bench.codec import es10_iot, euicc_package
from esim_bench.codec.es10_iot import IPAE_ACTIVATION, RETRIEVE_NOTIFICATIONS_LIST, IotTag
from esim_bench.codec.euicc_operations import (
    ListEim,
)

OTHER = "testeim2.example.com"
REMOVE = 0xBF30

FUNCTIONS = {
    tag: dict(es10_iot.codes(tag))
    for tag in (
        *(IotTag.LOAD_EUICC_PACKAGE, IotTag.ADD_INITIAL_EIM, IotTag.GET_CERTS, IotTag.GET_CONNECTIVITY_PARAMETERS),
        IPAE_ACTIVATION,
    )
} | {RETRIEVE_NOTIFICATIONS_LIST: {127: "undefinedError"}, REMOVE: {0: "ok", 1: "nothingToDelete", 127: "undefined"}}
WAYS = {}


def way(what, code):
    def register(function):
        assert (what, code) not in WAYS
        WAYS[what, code] = function
        return function

    return register


def package_error(card, package):
    """The code of a signed error."""
    result = euicc_package.parse_result(card.es10(package).raw)
    assert isinstance(result, euicc_package.SignedError)
    return result.code


def code_of(response):
    member = response.children()[0]
    if member.tag == 0xA0:
        return 0
    assert member.tag in (0x80, 0x81)
    return member.integer()


# ------------------------------------------------------------------------------------------------------ the package


@way(IotTag.LOAD_EUICC_PACKAGE, 3)
def _(iot):
    card, eim = iot.associated()
    return package_error(card, eim.package(ListEim(), eid=bytes(16)))


@way(IotTag.LOAD_EUICC_PACKAGE, 4)
def _(iot):
    card, eim = iot.associated()
    package = eim.package(ListEim())
    card.load(package)
    return package_error(card, package)


@way(IotTag.LOAD_EUICC_PACKAGE, 6)
def _(iot):
    card, eim = iot.associated()
    return package_error(card, eim.package(ListEim(), counter=0x800000))


@way(IotTag.LOAD_EUICC_PACKAGE, 15)
def _(iot):
    card, eim = iot.associated(personality=iot.personality(max_package_size=500))
    return package_error(card, eim.package(*[ListEim()] * 200))


@way(IotTag.LOAD_EUICC_PACKAGE, 104)
def _(iot):
    """The Emergency Profile is enabled."""
    card, eim = iot.associated(1, (2, iot.EMERGENCY), enabled=1)
    assert code_of(card.es10(es10_iot.enable_emergency_profile(False))) == 0
    return package_error(card, eim.package(ListEim()))


@way(IotTag.LOAD_EUICC_PACKAGE, 127)
def _(iot):
    """The memory does not take the journal."""
    card, eim = iot.associated(personality=iot.personality(worn_memory=("iot/package",)))
    return package_error(card, eim.package(ListEim()))


# ------------------------------------------------------------------------------------------------------ functions


def add_initial(card, *configurations):
    return code_of(card.es10(es10_iot.add_initial_eim(configurations)))


@way(IotTag.ADD_INITIAL_EIM, 1)
def _(iot):
    card = iot.card(personality=iot.personality(max_eims=1))
    return add_initial(card, iot.Eim().configuration(), iot.Eim(OTHER).configuration())


@way(IotTag.ADD_INITIAL_EIM, 2)
def _(iot):
    card, _ = iot.associated()
    return add_initial(card, iot.Eim(OTHER).configuration())


@way(IotTag.ADD_INITIAL_EIM, 3)
def _(iot):
    return add_initial(iot.card(), iot.Eim().configuration(ci_pk_id=bytes(20)))


@way(IotTag.ADD_INITIAL_EIM, 5)
def _(iot):
    return add_initial(iot.card(), iot.Eim().configuration(association_token=7))


@way(IotTag.ADD_INITIAL_EIM, 6)
def _(iot):
    return add_initial(iot.card(), iot.Eim().configuration(counter=0x800000))


@way(IotTag.ADD_INITIAL_EIM, 7)
def _(iot):
    return add_initial(iot.card(), iot.Eim().configuration(counter=None))


@way(IotTag.ADD_INITIAL_EIM, 127)
def _(iot):
    """No entries at all."""
    return code_of(iot.card().es10("BF5702A000"))


@way(IotTag.GET_CERTS, 1)
def _(iot):
    return code_of(iot.card().es10(es10_iot.get_certs(bytes(20))))


@way(IotTag.GET_CERTS, 127)
def _(iot):
    """A key identifier of no bytes."""
    return code_of(iot.card().es10("BF56028000"))


@way(IotTag.GET_CONNECTIVITY_PARAMETERS, 1)
def _(iot):
    return code_of(iot.card(1, enabled=1).es10("BF5F00"))


@way(IotTag.GET_CONNECTIVITY_PARAMETERS, 127)
def _(iot):
    """A request with half a data object in it."""
    return code_of(iot.card(1, enabled=1).es10("BF5F0180"))


@way(IPAE_ACTIVATION, 0)
def _(iot):
    return code_of(iot.card(personality=iot.personality(ipae_supported=True)).es10(es10_iot.ipae_activation()))


@way(IPAE_ACTIVATION, 1)
def _(iot):
    return code_of(iot.card().es10(es10_iot.ipae_activation()))


@way(RETRIEVE_NOTIFICATIONS_LIST, 127)
def _(iot):
    return code_of(iot.card().es10("BF2B04A0028300"))


@way(REMOVE, 0)
def _(iot):
    card, eim = iot.associated()
    return code_of(card.es10(f"BF30038001{card.load(eim.package(ListEim())).seq:02X}"))


@way(REMOVE, 1)
def _(iot):
    return code_of(iot.card().es10("BF3003800107"))


@way(REMOVE, 127)
def _(iot):
    """No sequence number has a sign."""
    return code_of(iot.card().es10("BF30038001FF"))


# ------------------------------------------------------------------------------------------------------ the table


def test_every_code_has_a_way():
    assert set(WAYS) == {(tag, code) for tag, codes in FUNCTIONS.items() for code in codes}


@pytest.mark.parametrize(("tag", "code"), WAYS, ids=[f"{tag:X}-{FUNCTIONS[tag].get(code)}" for tag, code in WAYS])
def test_the_code_is_reached(iot, tag, code):
    if code == 104 and not iot.has_switching:
        pytest.skip("needs the switching of profiles")
    assert WAYS[tag, code](iot) == code
