"""The eIM's part of a PKI: its signing certificate as in SGP.26 v3, its TLS certificate, other people's files."""

import datetime
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from esim_bench.crypto.certificates import Certificate, check_issued
from esim_bench.crypto.keys import Curve, curve_of
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError
from esim_bench.servers.pki import create_eim, create_pki, eim_tls_context, load_pki

NOW = 1_767_225_600_000_000_000


def made(curve=Curve.P256, **options):
    return create_pki(SeededRandomness("7"), curve=curve, now_ns=NOW, **options)


@pytest.fixture(scope="module", params=Curve)
def pki(request):
    return made(request.param)


def test_the_signing_certificate_is_that_of_sgp26_v3(pki):
    certificate = Certificate.load(pki.eim.certificate)
    assert certificate.parsed.subject.rfc4514_string() == "CN=eim.example.com,C=DE"
    assert curve_of(certificate.public_key) is curve_of(pki.eim.key.public_key()) is pki.curve
    check_issued(certificate, Certificate.load(pki.ci.certificate))
    extensions = {extension.oid._name: extension.critical for extension in certificate.parsed.extensions}
    assert extensions == {"authorityKeyIdentifier": False, "keyUsage": True}


def test_the_tls_certificate_is_for_both_eims_and_for_loopback(pki):
    certificate = Certificate.load(pki.eim_tls.certificate)
    names = ("testeim1.example.com", "testeim2.example.com", "localhost", "127.0.0.1", "::1")
    assert set(certificate.hosts) == set(names)
    certificate.parsed.verify_directly_issued_by(Certificate.load(pki.tls_root).parsed)
    assert eim_tls_context(pki) is not None


def test_given_hosts_are_names_of_the_eim_too_but_the_smdps_own_is_not():
    pki = made(hosts=["eim.lab", "10.0.0.5", "testsmdpplus1.example.com"])
    hosts = Certificate.load(pki.eim_tls.certificate).hosts
    assert {"eim.lab", "10.0.0.5"} <= set(hosts)
    assert "testsmdpplus1.example.com" not in hosts


def test_each_eim_has_a_key_of_its_own_that_nothing_else_changes(pki):
    again = create_eim(pki, "testeim2.example.com", SeededRandomness("7"), NOW)
    second = create_eim(pki, "testeim2.example.com", SeededRandomness("7"), NOW)
    assert (again.certificate, again.key.private_numbers()) == (second.certificate, second.key.private_numbers())
    assert again.key.public_key() != pki.eim.key.public_key()
    assert curve_of(again.key.public_key()) is pki.curve


def test_what_the_pki_had_before_there_were_eims_is_the_same_bytes():
    # Known answer: traces of seeded runs hold these certificates.
    digest = hashes.Hash(hashes.SHA256())
    pki = made()
    for pair in (pki.smdp_auth, pki.smdp_pb, pki.smdp_tls):
        digest.update(pair.certificate)
    assert digest.finalize().hex() == "31b08f45e1f7367c2a7b4e40e7d0b28ced6fde90f346ca94849e2485f9b6875d"


def test_a_new_eim_needs_the_cis_key_and_a_name(pki, tmp_path):
    pki.save(tmp_path)
    (tmp_path / "ci/key.pem").unlink()
    with pytest.raises(ConfigError, match=r"CI's private key is missing.*eim/sign/"):
        create_eim(load_pki(tmp_path), "another", SeededRandomness("7"), NOW)
    with pytest.raises(ConfigError, match="1 to 64"):
        create_eim(pki, "", SeededRandomness("7"), NOW)


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folder(tmp_path):
    made().save(tmp_path / "pki")
    return tmp_path / "pki"


def test_a_folder_of_earlier_times_has_no_eim(folder):
    shutil.rmtree(folder / "eim")
    pki = load_pki(folder, now_ns=NOW)
    assert (pki.eim, pki.eim_tls) == (None, None)
    with pytest.raises(ConfigError, match="no TLS certificate of an eIM"):
        eim_tls_context(pki)
    # Saved over one that has an eIM, none is left.
    made().save(folder, force=True)
    pki.save(folder, force=True)
    assert load_pki(folder).eim is None


def self_signed(path, host="eim.vendor.example"):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    start = datetime.datetime(2025, 12, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=300))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
    certificate = builder.sign(key, hashes.SHA256())
    (path / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (path / "key.pem").write_bytes(key.private_bytes(*pem))
    return certificate.public_bytes(serialization.Encoding.DER)


def test_other_peoples_eims_may_be_self_signed(folder):
    signing, tls = self_signed(folder / "eim/sign"), self_signed(folder / "eim/tls")
    pki = load_pki(folder, now_ns=NOW)
    assert (pki.eim.certificate, pki.eim_tls.certificate) == (signing, tls)
    assert eim_tls_context(pki) is not None


def test_a_smdp_may_not_be_self_signed(folder):
    self_signed(folder / "smdp/tls")
    with pytest.raises(ConfigError, match="not issued by"):
        load_pki(folder)


@pytest.mark.parametrize("part", ["sign", "tls"])
def test_what_does_not_fit_is_named(folder, part):
    path = folder / "eim" / part
    self_signed(folder / "smdp/auth")
    key = (path / "key.pem").read_bytes()
    shutil.copy(folder / "smdp/auth/key.pem", path / "key.pem")
    made().save(folder.with_name("whole"))
    shutil.copytree(folder.with_name("whole") / "smdp", folder / "smdp", dirs_exist_ok=True)
    with pytest.raises(ConfigError, match=rf"eim/{part}/key.pem: not the key of its certificate"):
        load_pki(folder)
    (path / "key.pem").unlink()
    with pytest.raises(ConfigError, match=rf"eim/{part}/key.pem: missing"):
        load_pki(folder)
    (path / "key.pem").write_bytes(key)
    with pytest.raises(ConfigError, match="expired"):
        load_pki(folder, now_ns=NOW + 20 * 365 * 86400 * 10**9)
