"""What an eIM keeps: orders as bytes and back, its view of an eUICC, one file for several programs."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.eim_configuration import EimConfigurationData, EimIdInfo
from esim_bench.codec.euicc_operations import (
    AddEim,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
)
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CodecError, ConfigError, CryptoError
from esim_bench.servers.eim import (
    DataOrder,
    DownloadOrder,
    Eim,
    EimCredentials,
    EimView,
    OrderState,
    PackageOrder,
    ProfileView,
    SqliteEimStore,
    View,
)
from esim_bench.servers.eim.orders import kind_of, parse_order

iccids = st.binary(min_size=10, max_size=10)
texts = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=30)
psmos = st.one_of(
    st.builds(Enable, iccids, st.booleans()),
    st.builds(Disable, iccids),
    st.builds(Delete, iccids),
    st.builds(SetFallbackAttribute, iccids),
    st.builds(SetDefaultDpAddress, texts),
    st.just(ListProfileInfo()),
    st.just(GetRat()),
    st.just(UnsetFallbackAttribute()),
    st.just(ConfigureImmediateEnable()),
)
ecos = st.one_of(
    st.builds(DeleteEim, texts),
    st.just(ListEim()),
    st.builds(AddEim, st.builds(EimConfigurationData, texts, counter=st.integers(0, 1 << 40))),
)
downloads = st.one_of(
    st.builds(DownloadOrder, activation_code=texts, held=st.booleans()),
    st.just(DownloadOrder(default_smdp=True)),
    st.builds(DownloadOrder, smds=st.just(True), smds_address=st.none() | texts),
)
data = st.builds(
    DataOrder,
    st.lists(st.sampled_from([0xA0, 0x81, 0xA2, 0xBF20, 0xBF22, 0xA5, 0xA6, 0xA9]), min_size=1, unique=True).map(tuple),
    st.none() | st.binary(min_size=1, max_size=20),
    st.none() | st.builds(Search, st.integers(0, 1 << 30)),
    st.none() | st.integers(0, 1 << 30),
)
packages = st.one_of(st.lists(psmos, min_size=1, max_size=5), st.lists(ecos, min_size=1, max_size=5))


@given(order=st.one_of(packages.map(lambda them: PackageOrder(tuple(them))), downloads, data))
def test_an_order_is_kept_as_it_was(order):
    assert parse_order(kind_of(order), order.encode(Version.V1_3)) == order


profiles = st.builds(
    ProfileView,
    iccids,
    st.sampled_from(["enabled", "disabled", "deleted", "unknown"]),
    st.integers(-1, 1 << 60),
    st.none() | st.text(max_size=9),
    st.none() | st.text(max_size=9),
    st.none() | st.booleans(),
)
views = st.builds(
    View,
    st.lists(profiles, max_size=4).map(tuple),
    st.booleans(),
    st.lists(st.builds(EimView, texts, st.none() | st.integers(1, 3), st.none() | st.integers()), max_size=3).map(
        tuple
    ),
    network=st.none() | st.binary(min_size=3, max_size=3),
    euicc_info2=st.none() | st.binary(max_size=20),
    features=st.none() | st.lists(texts).map(tuple),
    before=st.none() | st.tuples(st.integers(1, 99), st.none() | iccids),
)


@given(view=views)
def test_a_view_is_kept_as_it_was(view):
    assert View.from_json(view.to_json()) == view


def test_a_whole_list_ends_what_is_not_in_it_and_a_search_does_not(shapes):
    view = View().notified("install", shapes.FIRST, 1).notified("enable", shapes.SECOND, 2)
    entry = shapes.t(0xE3, shapes.t(0x5A, shapes.FIRST), shapes.t(0x9F70, b"\x01"), shapes.t(0x92, b"Name"))
    listed = OperationResult("listProfileInfo", content=entry)
    search = ListProfileInfo(shapes.t(0xBF2D, shapes.t(0xA0, shapes.t(0x5A, shapes.FIRST))))
    partly = view.after(1, (search,), (listed,), 3)
    assert {one.iccid for one in partly.profiles} == {shapes.FIRST, shapes.SECOND}
    wholly = view.after(1, (ListProfileInfo(),), (listed,), 3)
    assert [(one.iccid, one.state, one.name) for one in wholly.profiles] == [(shapes.FIRST, "enabled", "Name")]
    assert (wholly.complete, partly.complete) == (True, False)


def test_the_other_operations_show_in_the_view(shapes):
    operations = (
        SetFallbackAttribute(shapes.FIRST),
        SetDefaultDpAddress("dp.example.com"),
        Disable(shapes.FIRST),
        Enable(shapes.SECOND),
    )
    results = [OperationResult(operation.NAME) for operation in operations]
    view = View().notified("enable", shapes.FIRST, 1).after(7, operations, results, 5)
    assert (view.profile(shapes.FIRST).fallback, view.default_smdp_address) == (True, "dp.example.com")
    assert (view.enabled_iccid, view.before) == (shapes.SECOND, (7, shapes.FIRST))
    back = view.after(7, operations, [*results, OperationResult("rollback")], 6)
    assert (back.enabled_iccid, back.profile(shapes.SECOND).state) == (shapes.FIRST, "disabled")
    cleared = back.after(8, (UnsetFallbackAttribute(),), (OperationResult("unsetFallbackAttribute"),), 9)
    assert cleared.profile(shapes.FIRST).fallback is False
    failed = view.after(9, (Delete(shapes.SECOND),), (OperationResult("delete", 2),), 9)
    assert failed == view


def test_eims_are_as_they_were_listed_last():
    added = EimConfigurationData("b", id_type=2, counter=1)
    view = View().after(1, (AddEim(added),), (OperationResult("addEim", association_token=5),), 1)
    listed = OperationResult("listEim", eims=(EimIdInfo("a", 2), EimIdInfo("b", 2)))
    view = view.after(2, (ListEim(),), (listed,), 2)
    assert view.eims == (EimView("a", 2), EimView("b", 2, 5))
    assert view.after(3, (DeleteEim("a"),), (OperationResult("deleteEim"),), 3).eims == (EimView("b", 2, 5),)


def test_two_programs_use_one_file(on_disk):
    """Orders by hand, while a server runs."""
    ipa = on_disk.ipa()
    by_hand = SqliteEimStore(on_disk.path)
    other = Eim(
        on_disk.credentials,
        by_hand,
        SeededRandomness("x"),
        lambda: on_disk.now,
        trusted_cis=[on_disk.pki.ci_key],
        check_dates=False,
    )
    order = on_disk.eim.order(ipa.euicc.eid, PackageOrder((ListProfileInfo(),)))
    assert other.find_order(order.id).state is OrderState.QUEUED
    assert ipa.poll() == ["euiccPackageRequest"]
    assert other.find_order(order.id).state is OrderState.DONE
    assert other.view(ipa.euicc.eid).complete
    by_hand.close()


@pytest.mark.parametrize("token", [0x7F, 0x80, 1 << 62, 1 << 70])
def test_tokens_of_any_size_are_signed_as_integers(bench, token):
    ipa = bench.ipa()
    ipa.euicc.token = token
    bench.eim.associated(ipa.euicc.eid, token)
    bench.eim.order(ipa.euicc.eid, PackageOrder((ListEim(),)))
    assert ipa.poll() == ["euiccPackageRequest"]
    assert bench.eim.orders()[-1].state is OrderState.DONE


def test_credentials_that_cannot_be_are_refused(bench):
    key = bench.credentials.signing_key
    with pytest.raises(CodecError, match="length of a text"):
        EimCredentials("", "eim.example.com", key)
    with pytest.raises(ConfigError, match="of another key"):
        EimCredentials("eim", "eim.example.com", key, bench.euicc().certificates[0])
    other_curve = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(CryptoError):
        EimCredentials("eim", "eim.example.com", other_curve)
