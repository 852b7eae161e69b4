"""Certificate checks, tried on PKIs that are not ours: made here by hand, with other names, curves and variants."""

import datetime
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.crypto.certificates import (
    Certificate,
    CertificateError,
    Role,
    check_ci,
    check_euicc_chain,
    check_same_server,
    check_server,
)
from esim_bench.crypto.identity import CiKey
from esim_bench.errors import CodecError

START = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
NOW = int(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()) * 10**9
EID = "89033023426200000000000123456717"
V2 = {Role.CI: "0", Role.EUICC: "1", Role.EUM: "2", Role.DP_TLS: "3", Role.DP_AUTH: "4", Role.DP_PB: "5"}
V3 = {
    Role.CI: "0",
    Role.EUM: "0.0.0",
    Role.EUICC: "0.0.0.0.0",
    Role.DP_TLS: "0.0.1.0",
    Role.DP_AUTH: "0.0.1.1",
    Role.DP_PB: "0.0.1.2",
}


def name(**attributes):
    return x509.Name([x509.NameAttribute(getattr(NameOID, key), value) for key, value in attributes.items()])


def usage(*wanted):
    every = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    every += " crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{item: item in wanted for item in every.split()})


def policy(oid):
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None)])


CI_NAME = name(COMMON_NAME="Orbital Root", ORGANIZATION_NAME="Fremde GmbH", COUNTRY_NAME="DE")
EUM_NAME = name(COMMON_NAME="Maker 7", ORGANIZATION_NAME="Chip & Söhne", LOCALITY_NAME="Graz")
EUICC_NAME = name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER=EID, COMMON_NAME="x")
DP_NAME = name(COMMON_NAME="Provisioner", ORGANIZATION_NAME="Other Operator", DOMAIN_COMPONENT="example")
CONSTRAINT = name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER="89033023")


@dataclass
class Foreign:
    """A PKI of somebody else; ``issue`` makes any certificate with any fault."""

    curve: ec.EllipticCurve
    policies: dict[Role, str]

    def __post_init__(self):
        self.keys = {part: ec.generate_private_key(self.curve) for part in ("ci", "eum", "euicc", "dp")}

    def key_id(self, part):
        return x509.SubjectKeyIdentifier.from_public_key(self.keys[part].public_key()).digest

    def issue(self, part, role, **faults):
        signer = "eum" if part == "euicc" else "ci"
        subject, issuer, extensions = {
            "ci": (
                CI_NAME,
                CI_NAME,
                [(x509.BasicConstraints(True, None), True), (usage("key_cert_sign", "crl_sign"), True)],
            ),
            "eum": (EUM_NAME, CI_NAME, [(x509.BasicConstraints(True, 0), True), (usage("key_cert_sign"), True)]),
            "euicc": (EUICC_NAME, EUM_NAME, [(usage("digital_signature"), True)]),
            "dp": (DP_NAME, CI_NAME, [(usage("digital_signature"), True)]),
        }[part]
        if part == "dp":
            names = [x509.DNSName("rsp.other.example"), x509.RegisteredID(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"))]
            extensions.append((x509.SubjectAlternativeName(names), False))
        if part == "eum":
            if self.policies is V3:
                ein = bytes.fromhex("300a1308") + b"89033023"
                extensions.append((x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.146.1.2.2.0"), ein), True))
            else:
                extensions.append((x509.NameConstraints([x509.DirectoryName(CONSTRAINT)], None), True))
        if role is Role.DP_TLS:
            extensions.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True))
        extensions.append((policy(faults.get("policy", f"2.23.146.1.2.1.{self.policies[role]}")), True))
        extensions.append(
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), False)
        )
        extensions.append((x509.AuthorityKeyIdentifier(faults.get("aki", self.key_id(signer)), None, None), False))
        public = faults.get("public", self.keys[part].public_key())
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(public), False))
        replaced = {type(value): (value, True) for value in faults.get("extensions", ())}
        dropped = faults.get("without", ())
        builder = (
            x509.CertificateBuilder()
            .subject_name(faults.get("subject", subject))
            .issuer_name(faults.get("issuer", issuer))
            .serial_number(faults.get("serial", 1 << 150))
            .public_key(public)
            .not_valid_before(faults.get("start", START))
            .not_valid_after(faults.get("end", datetime.datetime(7500, 5, 10, tzinfo=datetime.UTC)))
        )
        for value, critical in extensions:
            if type(value) not in dropped and type(value) not in replaced:
                builder = builder.add_extension(value, critical)
        for value, critical in replaced.values():
            builder = builder.add_extension(value, critical)
        key = faults.get("key", self.keys[signer])
        return Certificate.load(builder.sign(key, faults.get("hash", hashes.SHA256())).public_bytes(Encoding.DER))


PKIS = {
    "P-256, SGP.22 v2": Foreign(ec.SECP256R1(), V2),
    "brainpool, SGP.22 v2": Foreign(ec.BrainpoolP256R1(), V2),
    "P-256, SGP.22 v3": Foreign(ec.SECP256R1(), V3),
}


@pytest.fixture(params=PKIS)
def foreign(request):
    return PKIS[request.param]


@pytest.fixture
def ci(foreign):
    return foreign.issue("ci", Role.CI)


def test_what_a_certificate_tells(foreign):
    auth = foreign.issue("dp", Role.DP_AUTH)
    assert auth.role is Role.DP_AUTH
    assert auth.oid == "1.3.6.1.4.1.99999.7"
    assert auth.hosts == ("rsp.other.example",)
    assert auth.subject == "DC=example,O=Other Operator,CN=Provisioner"
    assert auth.authority_key_id == foreign.key_id("ci")
    assert auth.subject_key_id == foreign.key_id("dp")
    assert auth.public_key == foreign.keys["dp"].public_key()
    assert auth.not_after.year == 7500
    euicc = foreign.issue("euicc", Role.EUICC)
    assert euicc.eid == bytes.fromhex(EID)
    assert euicc.organization == "Chip & Söhne"
    assert (auth.eid, euicc.oid) == (None, None)


def test_a_foreign_pki_holds(foreign, ci):
    check_ci(ci, NOW)
    eum, euicc = foreign.issue("eum", Role.EUM), foreign.issue("euicc", Role.EUICC)
    as_known_to_a_card = CiKey(ci.subject_key_id, ci.public_key)
    for issuer in (ci, as_known_to_a_card, ci.public_key):
        check_euicc_chain(euicc, eum, issuer, NOW)
        check_euicc_chain(euicc, eum, issuer)
        for role in (Role.DP_AUTH, Role.DP_PB, Role.DP_TLS):
            check_server(foreign.issue("dp", role), issuer, role, NOW)
    check_same_server(foreign.issue("dp", Role.DP_AUTH), foreign.issue("dp", Role.DP_PB))


def refusal(check, *arguments):
    with pytest.raises(CertificateError) as caught:
        check(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"policy": "2.23.146.1.2.1.5"}, "wrong role: expected policy 2.23.146.1.2.1.4 (SM-DP+ auth), found SM-DP+ pb"),
        ({"policy": "1.2.3"}, "found certificate without an RSP role"),
        ({"without": (x509.SubjectAlternativeName,)}, "no OID"),
        ({"extensions": [usage("key_agreement")]}, "wrong key usage: expected digital_signature"),
        ({"without": (x509.KeyUsage,)}, "wrong key usage"),
        ({"extensions": [x509.BasicConstraints(True, 0)]}, "a CA: expected an end entity"),
        ({"aki": bytes(20)}, "wrong authority key identifier"),
        ({"without": (x509.AuthorityKeyIdentifier,)}, "found none"),
        ({"extensions": [x509.OCSPNoCheck()]}, "unknown critical extension"),
        ({"hash": hashes.SHA384()}, "wrong signature algorithm: expected ECDSA with SHA-256, found ecdsa-with-SHA384"),
        ({"issuer": DP_NAME}, "issued by another"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "the issuer's signature does not hold"),
    ],
)
def test_a_servers_certificate_with_a_fault_is_invalid(foreign, ci, faults, message):
    error = refusal(check_server, foreign.issue("dp", Role.DP_AUTH, **faults), ci, Role.DP_AUTH, NOW)
    assert message in str(error)
    assert str(error).startswith("SM-DP+ auth certificate: ")
    assert (error.kind, error.subject_role, error.euicc_result) == ("invalid", "SM-DP+ auth", "invalidCertificate")


def test_a_tls_certificate_needs_server_auth(foreign, ci):
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    error = refusal(check_server, foreign.issue("dp", Role.DP_TLS, extensions=[usages]), ci, Role.DP_TLS)
    assert "wrong extended key usage: expected serverAuth, found clientAuth" in str(error)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP224R1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_on_other_curves_are_told_apart(foreign, ci, key):
    error = refusal(check_server, foreign.issue("dp", Role.DP_PB, public=key.public_key()), ci, Role.DP_PB)
    assert (error.kind, error.euicc_result) == ("unsupportedCurve", "unsupportedCurve")
    assert error.subject_role == "SM-DP+ pb"


def test_dates_are_judged_only_where_there_is_a_date(foreign, ci):
    old = foreign.issue("dp", Role.DP_AUTH, end=datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))
    check_server(old, ci, Role.DP_AUTH)
    error = refusal(check_server, old, ci, Role.DP_AUTH, NOW)
    assert error.kind == "expired"
    assert "expired: expected a date up to 2025-01-01, found 2026-06-01" in str(error)
    young = foreign.issue("dp", Role.DP_AUTH, start=datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC))
    assert "not valid yet: expected a date from 2027-01-01" in str(refusal(check_server, young, ci, Role.DP_AUTH, NOW))


@pytest.mark.parametrize(
    ("part", "faults", "kind", "message"),
    [
        ("eum", {"extensions": [x509.BasicConstraints(False, None)]}, "invalid", "not a CA"),
        ("eum", {"extensions": [x509.BasicConstraints(True, 1)]}, "invalid", "wrong path length: expected 0, found 1"),
        (
            "eum",
            {"extensions": [x509.BasicConstraints(True, None)]},
            "invalid",
            "wrong path length: expected 0, found none",
        ),
        ("eum", {"extensions": [usage("digital_signature")]}, "invalid", "wrong key usage: expected key_cert_sign"),
        ("eum", {"policy": "2.23.146.1.2.1.1"}, "invalid", "found eUICC"),
        ("eum", {"end": START + datetime.timedelta(1)}, "expired", "expired"),
        ("eum", {"without": (x509.NameConstraints, x509.UnrecognizedExtension)}, "invalid", "no EIDs permitted"),
        ("eum", {"subject": name(COMMON_NAME="Maker 7")}, "invalid", "no organization"),
        ("euicc", {"policy": "2.23.146.1.2.1.2"}, "invalid", "found EUM"),
        ("euicc", {"end": START + datetime.timedelta(1)}, "expired", "expired"),
        ("euicc", {"aki": bytes(20)}, "invalid", "wrong authority key identifier"),
        (
            "euicc",
            {"subject": name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER="89033024" + EID[8:])},
            "invalid",
            "EID not permitted to its EUM",
        ),
        ("euicc", {"subject": name(ORGANIZATION_NAME="Else", SERIAL_NUMBER=EID)}, "invalid", "another organization"),
        ("euicc", {"subject": name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER="8903")}, "invalid", "no EID"),
        ("euicc", {"subject": name(ORGANIZATION_NAME="Chip & Söhne")}, "invalid", "no EID"),
        ("euicc", {"key": ec.generate_private_key(ec.SECP256R1())}, "invalid", "signature does not hold"),
    ],
)
def test_a_fault_in_the_euiccs_chain_names_whose_it_is(foreign, ci, part, faults, kind, message):
    roles = {"eum": Role.EUM, "euicc": Role.EUICC}
    made = {key: foreign.issue(key, role, **(faults if key == part else {})) for key, role in roles.items()}
    error = refusal(check_euicc_chain, made["euicc"], made["eum"], ci, NOW)
    assert message in str(error)
    assert (error.kind, error.subject_role) == (kind, roles[part].label)


@pytest.mark.parametrize(
    "permitted",
    [
        [CONSTRAINT, name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER="89049032")],
        [name(ORGANIZATION_NAME="Chip & Söhne", SERIAL_NUMBER="8903302342")],
        [name(SERIAL_NUMBER="89033023")],
    ],
)
def test_any_one_permitted_name_is_enough(permitted):
    foreign = PKIS["P-256, SGP.22 v2"]
    constraints = x509.NameConstraints([x509.DirectoryName(item) for item in permitted], None)
    eum = foreign.issue("eum", Role.EUM, extensions=[constraints])
    check_euicc_chain(foreign.issue("euicc", Role.EUICC), eum, foreign.issue("ci", Role.CI))


@pytest.mark.parametrize(
    ("permitted", "excluded", "message"),
    [
        ([name(ORGANIZATION_NAME="Else", SERIAL_NUMBER="89033023")], None, "EID not permitted"),
        ([name(ORGANIZATION_NAME="Chip & Söhne")], None, "no EIDs permitted"),
        ([CONSTRAINT], [name(SERIAL_NUMBER="890330234")], "EID not permitted"),
    ],
)
def test_name_constraints_that_do_not_permit_the_eid(permitted, excluded, message):
    foreign = PKIS["P-256, SGP.22 v2"]
    names = [[x509.DirectoryName(item) for item in items] if items else None for items in (permitted, excluded)]
    eum = foreign.issue("eum", Role.EUM, extensions=[x509.NameConstraints(*names)])
    error = refusal(check_euicc_chain, foreign.issue("euicc", Role.EUICC), eum, foreign.issue("ci", Role.CI))
    assert message in str(error)


def test_a_chain_to_another_ci_does_not_hold(foreign):
    other = Foreign(foreign.curve, foreign.policies).issue("ci", Role.CI)
    error = refusal(check_euicc_chain, foreign.issue("euicc", Role.EUICC), foreign.issue("eum", Role.EUM), other)
    assert error.subject_role == "EUM"
    assert "wrong authority key identifier" in str(error)
    # Without a key identifier to compare, the signature still tells.
    error = refusal(check_server, foreign.issue("dp", Role.DP_PB), other.public_key, Role.DP_PB)
    assert "signature does not hold" in str(error)


def test_auth_and_pb_of_two_servers_do_not_belong_together(foreign):
    other = x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("2.999.12"))])
    pb = foreign.issue("dp", Role.DP_PB, extensions=[other])
    error = refusal(check_same_server, foreign.issue("dp", Role.DP_AUTH), pb)
    assert "expected OID 1.3.6.1.4.1.99999.7, found 2.999.12" in str(error)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"policy": "2.23.146.1.2.1.2"}, "wrong role"),
        ({"extensions": [usage("key_cert_sign")]}, "found no crl_sign"),
        ({"extensions": [x509.BasicConstraints(False, None)]}, "not a CA"),
        ({"issuer": DP_NAME}, "issued by another"),
        ({"end": START + datetime.timedelta(1)}, "expired"),
    ],
)
def test_a_ci_must_be_a_root(foreign, faults, message):
    assert message in str(refusal(check_ci, foreign.issue("ci", Role.CI, **faults), NOW))


def test_a_ci_may_state_no_authority_key_identifier(foreign):
    check_ci(foreign.issue("ci", Role.CI, without=(x509.AuthorityKeyIdentifier,)))


def test_odd_but_readable_certificates_are_read(foreign):
    odd = name(ORGANIZATION_NAME="A" * 64, COMMON_NAME="päss ☃", PSEUDONYM="x", USER_ID="y")
    certificate = foreign.issue("dp", Role.DP_AUTH, subject=odd, serial=1)
    check_server(certificate, foreign.issue("ci", Role.CI), Role.DP_AUTH)
    without_key_id = foreign.issue("dp", Role.DP_AUTH, without=(x509.SubjectKeyIdentifier,))
    assert without_key_id.subject_key_id == foreign.key_id("dp")


def test_pem_with_text_around_it_is_read(ci):
    pem = ci.parsed.public_bytes(Encoding.PEM)
    assert Certificate.load_pem_or_der(b"Certificate:\n    Data:\n" + pem + b"\n# end\n") == ci
    assert Certificate.load_chain(pem + pem) == (ci, ci)
    assert Certificate.load_pem_or_der(ci.der) == ci


@pytest.mark.parametrize(
    "data", [b"", b"\x30", b"\x30\x00", b"\x30\x80\x00\x00", b"hello", b"-----BEGIN CERTIFICATE-----\nAA"]
)
def test_what_is_no_certificate_is_refused_with_its_place(data):
    with pytest.raises(CodecError, match=r"^smdp/pb.pem: "):
        Certificate.load_pem_or_der(data, "smdp/pb.pem")


def test_bytes_after_the_certificate_are_refused(ci):
    with pytest.raises(CodecError, match="1 bytes after the end"):
        Certificate.load(ci.der + b"\x00")


def test_the_count_of_unused_bits_is_not_a_place_for_a_change():
    """It is the one byte of a certificate that no signature and no comparison covers."""
    certificates = [
        PKIS["P-256, SGP.22 v2"].issue(kind, role) for kind, role in (("ci", Role.CI), ("dp", Role.DP_AUTH))
    ]
    for certificate in certificates:
        at = len(certificate.der) - len(certificate.signature) - 1
        # A reader of X.509 takes so many unused bits where the last ones happen to be 0: make them so.
        data = certificate.der[:-1] + bytes((certificate.der[-1] & 0xF0,))
        assert data[at] == 0
        Certificate.load(data)
        for count in range(1, 5):
            with pytest.raises(CodecError, match="not a certificate"):
                Certificate.load(data[:at] + bytes((count,)) + data[at + 1 :])


GOOD = PKIS["P-256, SGP.22 v2"].issue("dp", Role.DP_AUTH)
GOOD_CI = PKIS["P-256, SGP.22 v2"].issue("ci", Role.CI)


@given(st.integers(0, len(GOOD.der) - 1))
def test_a_truncated_certificate_is_a_codec_error(length):
    with pytest.raises(CodecError):
        Certificate.load(GOOD.der[:length])


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD.der) - 1), st.integers(1, 255)),
        min_size=1,
        max_size=3,
        unique_by=lambda x: x[0],
    )
)
def test_no_changed_certificate_passes(changes):
    data = bytearray(GOOD.der)
    for index, difference in changes:
        data[index] ^= difference
    with pytest.raises((CodecError, CertificateError)):
        check_server(Certificate.load(bytes(data)), GOOD_CI, Role.DP_AUTH, NOW)


@given(st.binary(max_size=300))
def test_garbage_is_a_codec_error(data):
    with pytest.raises(CodecError):
        Certificate.load(data)
