"""The test PKI: the same seed gives the same bytes, certificates are those of SGP.26, eUICCs get identities."""

import datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate, Role, check_ci, check_euicc_chain, check_server
from esim_bench.crypto.keys import Curve, curve_of
from esim_bench.crypto.randomness import SeededRandomness, SystemRandomness
from esim_bench.errors import CodecError, ConfigError
from esim_bench.servers.pki import check_eid, create_pki, make_eid, merge_identities

NOW = 1_767_225_600_000_000_000
EID = bytes.fromhex("89049032123451234512345678901235")


def seeded(seed="7", **options):
    return create_pki(SeededRandomness(seed), now_ns=NOW, **options)


@pytest.fixture(scope="module", params=Curve)
def pki(request):
    return seeded(curve=request.param)


def certificates(pki):
    return {
        Role.CI: Certificate.load(pki.ci.certificate),
        Role.EUM: Certificate.load(pki.eum.certificate),
        Role.DP_AUTH: Certificate.load(pki.smdp_auth.certificate),
        Role.DP_PB: Certificate.load(pki.smdp_pb.certificate),
        Role.DP_TLS: Certificate.load(pki.smdp_tls.certificate),
        Role.EUICC: Certificate.load(pki.issue_euicc(EID, SeededRandomness("e")).signing[0].euicc_certificate),
    }


def critical(certificate):
    return {extension.oid._name for extension in certificate.parsed.extensions if extension.critical}


def test_the_test_eid_of_sgp26_is_valid():
    assert make_eid("123456789012") == EID
    assert make_eid(123456789012) == check_eid("89049032-12345-12345-123456789012-35") == EID


def test_an_individual_number_is_filled_up_to_12_digits():
    assert make_eid(7, iin="89033023").hex().startswith("890330231234512345000000000007")


@given(st.integers(0, 10**12 - 1), st.from_regex(r"\A89[0-9]{6}\Z"))
def test_made_eids_check_and_changed_ones_do_not(individual, iin):
    eid = make_eid(individual, iin)
    assert check_eid(eid.hex()) == eid
    changed = str(int(eid.hex()) + 1).zfill(32)
    with pytest.raises(CodecError, match="wrong check digits"):
        check_eid(changed)


@pytest.mark.parametrize("text", ["", "8904903212345123451234567890123", "8904903212345123451234567890123A", "٨" * 32])
def test_what_is_no_eid(text):
    with pytest.raises(CodecError, match="not an EID: expected 32 digits"):
        check_eid(text)


def test_wrong_check_digits_say_the_right_ones():
    with pytest.raises(CodecError, match="expected 35, found 36"):
        check_eid("89049032123451234512345678901236")


@pytest.mark.parametrize(
    ("individual", "iin"), [("1" * 13, "89049032"), ("", "89049032"), (-1, "89049032"), (1, "8904")]
)
def test_numbers_that_make_no_eid(individual, iin):
    with pytest.raises(CodecError):
        make_eid(individual, iin)


@pytest.mark.parametrize("curve", Curve)
def test_the_same_seed_gives_the_same_bytes(curve):
    first, again, other = (seeded(seed, curve=curve) for seed in ("7", "7", "8"))
    made = [[certificate.der for certificate in certificates(pki).values()] for pki in (first, again, other)]
    assert made[0] == made[1]
    assert not set(made[0]) & set(made[2])
    assert first.tls_root == again.tls_root


def test_an_euiccs_key_does_not_depend_on_those_made_before():
    pki, randomness = seeded(), SeededRandomness("slots")
    alone = pki.issue_euicc(EID, SeededRandomness("slots"))
    for number in range(3):
        pki.issue_euicc(make_eid(number), randomness)
    assert pki.issue_euicc(EID, randomness).signing[0].euicc_certificate == alone.signing[0].euicc_certificate


def test_all_chains_hold_on_the_day_and_ten_years_later(pki):
    found = certificates(pki)
    check_ci(found[Role.CI], NOW)
    check_euicc_chain(found[Role.EUICC], found[Role.EUM], found[Role.CI], NOW + 10 * 365 * 86400 * 10**9)
    for role in (Role.DP_AUTH, Role.DP_PB):
        check_server(found[role], found[Role.CI], role, NOW)
    check_server(found[Role.DP_TLS], Certificate.load(pki.tls_root), Role.DP_TLS, NOW)


def test_certificates_are_those_of_sgp26(pki):
    found = certificates(pki)
    names = {role: certificate.subject for role, certificate in found.items()}
    assert names == {
        Role.CI: "C=IT,O=RSPTEST,OU=TESTCERT,CN=Test CI",
        Role.EUM: "CN=EUM Test,O=RSP Test EUM,C=ES",
        Role.EUICC: f"CN=Test eUICC,serialNumber={EID.hex()},O=RSP Test EUM,C=ES",
        Role.DP_AUTH: "CN=TEST SM-DP\\+,O=ACME",
        Role.DP_PB: "CN=TEST SM-DP\\+,O=ACME",
        Role.DP_TLS: "CN=testsmdpplus1.example.com,O=ACME",
    }
    oids = {role: certificate.oid for role, certificate in found.items()}
    assert oids == {
        Role.CI: "2.999.1",
        Role.EUM: "2.999.5",
        Role.EUICC: None,
        Role.DP_AUTH: "2.999.10",
        Role.DP_PB: "2.999.10",
        Role.DP_TLS: "2.999.10",
    }
    end_entity = {"keyUsage", "certificatePolicies"}
    assert {role: critical(certificate) for role, certificate in found.items()} == {
        Role.CI: {"basicConstraints", *end_entity},
        Role.EUM: {"basicConstraints", "nameConstraints", *end_entity},
        Role.EUICC: end_entity,
        Role.DP_AUTH: end_entity,
        Role.DP_PB: end_entity,
        Role.DP_TLS: {"keyUsage", "extendedKeyUsage"},
    }
    assert [role for role, certificate in found.items() if certificate.role is not role] == []
    assert found[Role.EUICC].parsed.serial_number == int(EID.hex(), 16)
    assert found[Role.EUICC].not_after == datetime.datetime(7500, 5, 10, tzinfo=datetime.UTC)
    assert found[Role.EUM].extension(x509.BasicConstraints).path_length == 0
    assert list(found[Role.DP_TLS].extension(x509.ExtendedKeyUsage)) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    constraint = found[Role.EUM].extension(x509.NameConstraints).permitted_subtrees[0].value
    assert constraint.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value == "89049032"
    for certificate in found.values():
        assert certificate.extension(x509.SubjectKeyIdentifier).digest == certificate.subject_key_id
        assert certificate.not_before == datetime.datetime(2025, 12, 31, tzinfo=datetime.UTC)


def test_keys_belong_to_certificates_and_lie_on_the_curve(pki):
    for pair in (pki.smdp_auth, pki.smdp_pb, pki.eum, pki.ci):
        ecdsa.verify(
            Certificate.load(pair.certificate).public_key, ecdsa.sign(pair.key, b"x", deterministic=True), b"x"
        )
        assert curve_of(pair.key) is pki.curve


def test_tls_is_always_p256_under_the_ci_or_a_root_of_its_own(pki):
    tls, root = Certificate.load(pki.smdp_tls.certificate), Certificate.load(pki.tls_root)
    assert curve_of(tls.public_key) is Curve.P256
    assert (root.der == pki.ci.certificate) == (pki.curve is Curve.P256)
    lifetime = tls.not_after - tls.not_before
    assert lifetime <= datetime.timedelta(398)


def test_tls_names_are_the_standard_ones_and_those_asked_for_once_each():
    tls = Certificate.load(seeded(hosts=["rsp.lab", "10.1.2.3", "localhost", "[fd00::1]"]).smdp_tls.certificate)
    assert tls.hosts == ("testsmdpplus1.example.com", "localhost", "127.0.0.1", "::1", "rsp.lab", "10.1.2.3", "fd00::1")


@pytest.mark.parametrize(
    "host", ["", "a b", "host:443", "https://host", "10.0.0.256", "-a.example", "é.example", "a" * 64]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ConfigError, match="not a host for the TLS certificate"):
        seeded(hosts=[host])


def test_a_leap_day_is_a_good_day_to_start():
    first_of_march = int(datetime.datetime(2028, 3, 1, 5, tzinfo=datetime.UTC).timestamp()) * 10**9
    ci = Certificate.load(create_pki(SeededRandomness("leap"), now_ns=first_of_march).ci.certificate)
    assert (ci.not_before.date().isoformat(), ci.not_after.date().isoformat()) == ("2028-02-29", "2063-02-28")


def test_the_systems_randomness_makes_pkis_that_differ():
    first, second = (create_pki(SystemRandomness(), now_ns=NOW) for _ in range(2))
    assert first.ci_key.key_id != second.ci_key.key_id


def test_an_identity_trusts_its_ci_and_can_sign(pki):
    identity = pki.issue_euicc(EID, SeededRandomness("e"), now_ns=NOW)
    (branch,) = identity.signing
    assert identity.eid == EID
    assert [ci.key_id for ci in identity.trusted] == [branch.ci_key_id] == [pki.ci_key.key_id]
    assert identity.now_ns == NOW
    assert branch.private_key.public_key() == Certificate.load(branch.euicc_certificate).public_key
    assert branch.eum_certificate == pki.eum.certificate


def test_an_eid_outside_the_eums_range_is_refused():
    with pytest.raises(ConfigError, match=r"EID not permitted to its EUM: expected .*89049032.*pki init --eid"):
        seeded().issue_euicc(make_eid(1, iin="89033023"), SeededRandomness("e"))
    both = seeded(iins=["89049032", "89033023"])
    assert both.issue_euicc(make_eid(1, iin="89033023"), SeededRandomness("e")).eid[:4].hex() == "89033023"
    assert both.issue_euicc(EID, SeededRandomness("e")).eid == EID


@pytest.mark.parametrize("iin", ["", "8904903", "8904903x"])
def test_what_is_no_iin_is_refused(iin):
    with pytest.raises(ConfigError, match="not an issuer identification number"):
        seeded(iins=[iin])


def test_an_euicc_under_two_cis():
    p256, brainpool = seeded(), seeded("other", curve=Curve.BRAINPOOL)
    first, second = (item.issue_euicc(EID, SeededRandomness("e"), now_ns=NOW) for item in (brainpool, p256))
    both = merge_identities(first, second, first)
    assert [branch.ci_key_id for branch in both.signing] == [brainpool.ci_key.key_id, p256.ci_key.key_id]
    assert [ci.key_id for ci in both.trusted] == [brainpool.ci_key.key_id, p256.ci_key.key_id]
    assert [curve_of(branch.private_key) for branch in both.signing] == [Curve.BRAINPOOL, Curve.P256]
    with pytest.raises(ConfigError, match="identities of two eUICCs"):
        merge_identities(first, p256.issue_euicc(make_eid(1), SeededRandomness("e")))
