"""Associated eIMs: the first ones, those that eIMs add, change and delete, and what the IPA is told of them."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.codec import es10_iot, es10_iot_answers, tlv
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.es10_iot_answers import IotError
from esim_bench.codec.euicc_operations import AddEim, DeleteEim, ListEim, UpdateEim
from esim_bench.codec.euicc_package import SignedResult, UnsignedError
from esim_bench.codec.sgp32 import Version
from esim_drivers.sim.nvm import PowerLost

OTHER = "testeim2.example.com"


def test_the_first_eims_come_together_each_with_its_own_token(iot):
    card = iot.card()
    first = iot.Eim().configuration(association_token=-1, protocols=("eimRetrieveHttps",), indirect_download=True)
    second = iot.Eim(OTHER).configuration(counter=7)
    assert card.add(first, second) == (1, None)
    assert card.eims() == (replace(first, counter=None, association_token=1), replace(second, counter=None))
    assert card.violations() == []


def test_the_sample_of_an_association_is_taken_as_it_is(iot):
    """An eIM without a key: it may be there for downloads, but its packages prove nothing."""
    card = iot.card()
    sample = bytes.fromhex("3013800161810162820102830101" + "8401FF87020780")
    assert card.es10(es10_iot.add_initial_eim([sample])).raw == bytes.fromhex("BF5705A003840101")
    (eim,) = card.eims()
    assert eim == EimConfigurationData("a", "b", 2, None, 1, protocols=("eimRetrieveHttps",))
    nobody = iot.Eim("a", token=1)
    assert isinstance(card.load(nobody.package(ListEim(), counter=2)), UnsignedError)
    added = es10_iot_answers.eim_configurations_of(card.es10("BF5500").raw)
    assert added == (eim,)


def test_one_eim_is_found_by_its_name(iot):
    card = iot.card()
    card.add(iot.Eim().configuration(), iot.Eim(OTHER).configuration())
    for wanted, found in ((OTHER, [OTHER]), ("nobody", [])):
        answer = card.es10(es10_iot.get_eim_configuration_data(wanted)).raw
        assert [one.eim_id for one in es10_iot_answers.eim_configurations_of(answer)] == found


def test_members_are_kept_as_they_came(iot):
    card = iot.card()
    key = iot.Eim().public_key
    certificate = KeyData(card.identity.signing[0].eum_certificate, certificate=True)
    whole = EimConfigurationData(
        "é" * 64,
        fqdn="eim.example.com:8443",
        id_type=3,
        counter=0x7FFFFF,
        public_key=certificate,
        tls_key=key,
        protocols=("eimRetrieveHttps", "eimProprietary"),
        ci_pk_id=card.identity.signing[0].ci_key_id,
        indirect_download=True,
    )
    card.add(whole)
    assert card.eims() == (replace(whole, counter=None),)


def test_a_failed_association_leaves_nothing(iot):
    card = iot.card()
    before = card.nvm.contents()
    good, bad = iot.Eim().configuration(), iot.Eim(OTHER).configuration(association_token=5)
    with pytest.raises(IotError, match="invalidAssociationToken"):
        card.add(good, bad)
    assert card.nvm.contents() == before
    with pytest.raises(IotError, match="associatedEimAlreadyExists"):
        card.add(good, good)
    assert card.eims() == ()


def test_an_association_is_whole_or_not_there_after_a_power_cut(iot):
    start = iot.card().nvm.snapshot()
    request = es10_iot.add_initial_eim(
        [iot.Eim().configuration(association_token=-1), iot.Eim(OTHER).configuration(association_token=-1)]
    )
    whole = iot.again(start)
    before = whole.nvm.writes
    whole.es10(request)
    count = whole.nvm.writes - before
    for number in range(count):
        card = iot.again(start)
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.es10(request)
        card.reset()
        assert card.eims() == ()
        assert card.violations() == []
        assert card.es10(request).raw == bytes.fromhex("BF5708A006840101840102")


def test_an_update_changes_the_members_that_are_there(iot):
    card, eim = iot.associated()
    new = iot.Eim(seed="the next key", token=eim.token, counter=0)
    order = UpdateEim(EimConfigurationData(eim.eim_id, fqdn="new.example.com", public_key=new.public_key, counter=0))
    result = card.load(eim.package(order))
    eim.check(card.identity, result)
    assert iot.codes(result) == [("updateEim", 0)]
    (told,) = card.eims()
    assert (told.fqdn, told.id_type, told.association_token) == ("new.example.com", 2, eim.token)
    assert isinstance(card.load(eim.package(ListEim())), UnsignedError), "the old key is no more"
    # With a new key the counter may begin again.
    assert isinstance(card.load(new.package(ListEim())), SignedResult)


def test_the_counter_goes_back_only_under_a_new_key(iot):
    card, eim = iot.associated()
    eim.counter = 99
    lower = UpdateEim(EimConfigurationData(eim.eim_id, counter=50))
    assert iot.codes(card.load(eim.package(lower))) == [("updateEim", 7)]
    higher = UpdateEim(EimConfigurationData(eim.eim_id, counter=200))
    assert iot.codes(card.load(eim.package(higher))) == [("updateEim", 0)]
    assert iot.error(card.load(eim.package(ListEim(), counter=200))) == 4
    assert iot.codes(card.load(eim.package(ListEim(), counter=201))) == [("listEim", 0)]


def test_list_eim_tells_names_and_kinds(iot):
    card, eim = iot.associated()
    other = iot.Eim(OTHER)
    result = card.load(eim.package(AddEim(other.configuration(id_type=None)), ListEim()))
    assert [(one.eim_id, one.id_type) for one in result.results[1].eims] == [(eim.eim_id, 2), (OTHER, None)]
    assert result.results[0].association_token is None, "no token was asked for"
    assert isinstance(card.load(other.package(DeleteEim(eim.eim_id))), SignedResult)


def test_the_memory_takes_no_more_than_its_number_of_eims(iot):
    card, eim = iot.associated(personality=iot.personality(max_eims=2))
    second, third = iot.Eim(OTHER).configuration(), iot.Eim("testeim3.example.com").configuration()
    result = card.load(eim.package(AddEim(second), AddEim(third)))
    assert iot.codes(result) == [("addEim", 0), ("addEim", 1)]
    assert card.violations() == []


def test_a_deleted_eim_leaves_nothing_but_the_count_of_tokens(iot):
    card, eim = iot.associated()
    card.load(eim.package(DeleteEim(eim.eim_id)))
    assert card.nvm.keys("iot/eim/") == []
    assert card.nvm.get("iot/tokens") == (1).to_bytes(8, "big")


def test_a_reset_of_the_eims_makes_the_first_association_possible_again(iot):
    card, eim = iot.associated()
    assert card.iot.eims.reset() == 0
    assert card.eims() == ()
    assert card.iot.eims.reset() == 1
    assert card.add(eim.configuration(association_token=-1)) == (2,)


@pytest.mark.parametrize("key", ["P-384", "no point"])
def test_a_key_that_no_eim_of_rsp_has_is_refused(iot, key):
    public = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key == "no point":
        der = iot.Eim().public_key.der[:-1] + b"\x00"
    card = iot.card()
    with pytest.raises(IotError, match="commandError"):
        card.add(iot.Eim().configuration(public_key=KeyData(der)))
    assert card.eims() == ()


def test_the_eim_is_answered_under_the_ci_that_it_asked_for(iot):
    card = iot.card(signing=iot.two_cis)
    first, second = card.identity.signing
    eim = iot.Eim()
    (eim.token,) = card.add(eim.configuration(ci_pk_id=second.ci_key_id, association_token=-1))
    result = card.load(eim.package(UpdateEim(EimConfigurationData(eim.eim_id, ci_pk_id=first.ci_key_id))))
    eim.check(card.identity, result, signing=second)
    result = card.load(eim.package(ListEim()))
    eim.check(card.identity, result, signing=first)


def test_an_older_card_passes_over_members_of_later_versions(iot):
    card = iot.card(standards=iot.standards[1])
    later = iot.Eim().configuration(indirect_download=True, proprietary=bytes.fromhex("0601558001AA"))
    card.es10(es10_iot.add_initial_eim([later.encode(Version.V1_3)]))
    (told,) = card.eims()
    assert told == replace(later, counter=None, indirect_download=False, proprietary=None)


def test_version_1_0_1_has_its_own_tags_and_codes(iot):
    card, eim = iot.associated(standards=iot.standards[1])
    assert eim.version is Version.V1_0_1
    result = card.load(eim.package(ListEim()))
    assert tlv.encode(0x84, b"\x02") in result.raw, "eimIdType is 84 there"
    again = card.es10(es10_iot.add_initial_eim([eim.configuration()], eim.version)).raw
    assert es10_iot_answers.result_code(again)[0] == 2
    twice = card.load(eim.package(AddEim(eim.configuration())))
    assert iot.codes(twice) == [("addEim", 7)], "without a code for an eIM that is there already"
