"""A PKI in a folder: written, read again, replaced in part by other people's files, refused when it does not hold."""

import datetime
import http.client
import json
import os
import shutil
import ssl
import stat
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from esim_bench.cli.pki import cli
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import BenchError, ConfigError
from esim_bench.servers.pki import create_pki, load_pki, make_eid, tls_context

NOW = 1_767_225_600_000_000_000
DAY = 86400 * 10**9
VALIDITY = (datetime.datetime(2026, 1, 1), datetime.datetime(2030, 1, 1))
EID = make_eid(123456789012)
EUICC = f"euicc/{EID.hex()}"
EUICC_9 = f"euicc/{make_eid(9, iin='89033023').hex()}"


def make(seed="7", curve=Curve.P256):
    return create_pki(SeededRandomness(seed), curve=curve, now_ns=NOW).with_euicc(EID, SeededRandomness(seed))


MADE = {curve: make(curve=curve) for curve in Curve}
OTHER = make("other")


@pytest.fixture(params=Curve)
def pki(request):
    return MADE[request.param]


@pytest.fixture
def folder(tmp_path):
    MADE[Curve.P256].save(tmp_path / "pki")
    return tmp_path / "pki"


@pytest.fixture
def other(tmp_path):
    OTHER.save(tmp_path / "other")
    return tmp_path / "other"


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_layout(pki, tmp_path):
    pki.save(tmp_path)
    parts = ("ci", "eum", EUICC, "smdp/auth", "smdp/pb", "smdp/tls", "eim/sign", "eim/tls")
    assert set(files(tmp_path)) == {f"{part}/{kind}.pem" for part in parts for kind in ("certificate", "key")} | {
        "tls-root.pem"
    }


def test_private_keys_are_readable_by_their_owner_only(folder):
    for path in folder.rglob("key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_written_is_read_again(pki, tmp_path):
    pki.save(tmp_path)
    again = load_pki(tmp_path, now_ns=NOW)
    assert again.tls_root == pki.tls_root
    assert (again.ci.certificate, again.eum.certificate) == (pki.ci.certificate, pki.eum.certificate)
    for name in ("smdp_auth", "smdp_pb", "smdp_tls", "eim", "eim_tls"):
        old, new = getattr(pki, name), getattr(again, name)
        assert old.certificate == new.certificate
        assert old.key.private_numbers() == new.key.private_numbers()
    kept = again.issue_euicc(EID, SeededRandomness("something else")).signing[0]
    assert kept.euicc_certificate == pki.euiccs[EID].certificate


def test_a_folder_with_something_in_it_is_not_touched(folder, tmp_path):
    before = files(folder)
    with pytest.raises(ConfigError, match=r"the folder is not empty.*--force"):
        OTHER.save(folder)
    assert files(folder) == before
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"something else than a PKI.*found thesis.tex"):
        OTHER.save(home, force=True)
    assert list(home.iterdir()) == [home / "thesis.tex"]


def test_force_replaces_the_pki_and_nothing_else(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "smdp/pb/certificate.pem").rename(folder / "smdp/pb/certificate.crt")
    OTHER.save(folder, force=True)
    assert load_pki(folder).ci_key.key_id == OTHER.ci_key.key_id
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "smdp/pb/certificate.crt").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write the PKI"):
        OTHER.save(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot write the PKI"):
        OTHER.save(tmp_path / "file" / "below")


# ------------------------------------------------------------------------------------------ other people's files


def test_a_whole_foreign_server_without_the_cis_key(folder, other):
    for part in ("ci", "smdp", "tls-root.pem", "eum", "euicc"):
        path = folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(other, folder, dirs_exist_ok=True)
    for part in ("ci", "eum"):
        (folder / part / "key.pem").unlink()
    pki = load_pki(folder, now_ns=NOW)
    assert (pki.ci.key, pki.eum.key) == (None, None)
    assert pki.issue_euicc(EID, SeededRandomness("x")).signing[0].private_key.public_key() == (
        OTHER.euiccs[EID].key.public_key()
    )
    with pytest.raises(ConfigError, match=r"EUM's private key is missing: expected .*89049032123451234512345678901235"):
        pki.issue_euicc(make_eid(1), SeededRandomness("x"))


def test_a_server_for_other_peoples_euiccs_needs_no_eum(folder):
    shutil.rmtree(folder / "eum")
    with pytest.raises(ConfigError, match=r"eum: missing: expected the EUM of the eUICCs in euicc/"):
        load_pki(folder)
    shutil.rmtree(folder / "euicc")
    pki = load_pki(folder)
    assert pki.eum is None
    with pytest.raises(ConfigError, match="no EUM in this PKI"):
        pki.issue_euicc(EID, SeededRandomness("x"))
    pki.save(folder, force=True)
    assert load_pki(folder).smdp_auth.certificate == pki.smdp_auth.certificate


@pytest.mark.parametrize("suffix", [".pem", ".der", ".crt", ".cer"])
def test_certificates_may_be_der_under_any_usual_name(folder, suffix):
    path = folder / "smdp/pb/certificate.pem"
    der = Certificate.load_pem_or_der(path.read_bytes()).der
    path.unlink()
    path.with_suffix(suffix).write_bytes(der)
    assert load_pki(folder).smdp_pb.certificate == der


@pytest.mark.parametrize("suffix", [".pem", ".der", ".key"])
def test_keys_may_be_sec1_in_der_under_any_usual_name(folder, suffix):
    path = folder / "smdp/auth/key.pem"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.unlink()
    path.with_suffix(suffix).write_bytes(
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    assert load_pki(folder).smdp_auth.key.private_numbers() == key.private_numbers()


def test_a_tls_certificate_may_come_with_its_whole_chain(folder):
    path = folder / "smdp/tls/certificate.pem"
    path.write_bytes(path.read_bytes() + (folder / "tls-root.pem").read_bytes())
    assert load_pki(folder).smdp_tls.intermediates == ()


def test_a_self_signed_tls_certificate_is_its_own_root(folder):
    for target in ("smdp/tls/certificate.pem", "tls-root.pem"):
        shutil.copy(folder / "ci/certificate.pem", folder / target)
    shutil.copy(folder / "ci/key.pem", folder / "smdp/tls/key.pem")
    assert load_pki(folder).smdp_tls.certificate == load_pki(folder).tls_root


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ("ci/certificate.pem", r"ci/key.pem: not the key of its certificate"),
        ("ci/key.pem", r"ci/key.pem: not the key of its certificate: expected the private key to the public key \.\."),
        ("eum/certificate.pem", r"eum/certificate.pem: EUM certificate: wrong authority key identifier: expected"),
        ("eum/key.pem", r"eum/key.pem: not the key of its certificate"),
        (f"{EUICC}/certificate.pem", rf"{EUICC}/certificate.pem: eUICC certificate: wrong authority key identifier"),
        (f"{EUICC}/key.pem", rf"{EUICC}/key.pem: not the key"),
        ("smdp/auth/certificate.pem", r"smdp/auth/certificate.pem: SM-DP\+ auth certificate: wrong authority key"),
        ("smdp/auth/key.pem", r"smdp/auth/key.pem: not the key"),
        ("smdp/pb/certificate.pem", r"smdp/pb/certificate.pem: SM-DP\+ pb certificate: wrong authority key"),
        ("smdp/pb/key.pem", r"smdp/pb/key.pem: not the key"),
        (
            "smdp/tls/certificate.pem",
            r"smdp/tls/certificate.pem: .* is not issued by .*: expected a chain up to .*tls-root",
        ),
        ("smdp/tls/key.pem", r"smdp/tls/key.pem: not the key"),
        ("tls-root.pem", r"smdp/tls/certificate.pem: .* found another signature"),
    ],
)
def test_a_single_file_of_another_pki_is_found(folder, other, replaced, message):
    shutil.copy(other / replaced, folder / replaced)
    with pytest.raises(ConfigError, match=message):
        load_pki(folder)


def test_the_ci_of_another_pki_is_found(folder, other):
    shutil.copytree(other / "ci", folder / "ci", dirs_exist_ok=True)
    with pytest.raises(ConfigError, match=r"smdp/auth/certificate.pem: SM-DP\+ auth certificate: wrong authority key"):
        load_pki(folder)


def test_swapped_certificates_are_found_by_their_role(folder):
    shutil.copy(folder / "smdp/pb/certificate.pem", folder / "smdp/auth/certificate.pem")
    with pytest.raises(
        ConfigError, match=r"smdp/auth/.*wrong role: expected policy .*1.4 \(SM-DP\+ auth\), found SM-DP\+ pb"
    ):
        load_pki(folder)


def test_an_euicc_in_the_folder_of_another_is_found(folder):
    (folder / EUICC).rename(folder / "euicc" / make_eid(1).hex())
    with pytest.raises(
        ConfigError, match=f"of another EID than its folder: expected {make_eid(1).hex()}, found {EID.hex()}"
    ):
        load_pki(folder)


def test_expired_certificates_are_found_where_there_is_a_date(folder):
    load_pki(folder, now_ns=NOW + 300 * DAY)
    with pytest.raises(ConfigError, match=r"smdp/tls/certificate.pem: SM-DP\+ TLS certificate: expired"):
        load_pki(folder, now_ns=NOW + 400 * DAY)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())])
def test_tls_keys_may_be_of_other_kinds(folder, key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, *VALIDITY)
    pem = builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
    for target in ("smdp/tls/certificate.pem", "tls-root.pem"):
        (folder / target).write_bytes(pem)
    (folder / "smdp/tls/key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    assert tls_context(load_pki(folder)).cert_store_stats()["x509"] == 0


PARTS = ["ci/certificate.pem", "smdp/auth/key.pem", "smdp/pb/certificate.pem", "smdp/tls/key.pem", "tls-root.pem"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(folder, part):
    (folder / part).unlink()
    with pytest.raises(ConfigError, match=f"{part}: missing: expected one of .*, found none"):
        load_pki(folder)


@pytest.mark.parametrize("part", [*PARTS, "ci/key.pem", f"{EUICC}/certificate.pem"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nMIIB", b"\x30\x82\x01\x00" * 9])
def test_an_unreadable_file_is_named(folder, part, content):
    (folder / part).write_bytes(content)
    with pytest.raises(ConfigError, match=part):
        load_pki(folder)


def test_two_files_for_one_part_are_refused(folder):
    shutil.copy(folder / "smdp/pb/key.pem", folder / "smdp/pb/key.key")
    with pytest.raises(ConfigError, match=r"more than one file: .* found key.pem and key.key"):
        load_pki(folder)


def test_a_huge_file_and_a_folder_in_place_of_a_file_are_refused(folder):
    (folder / "tls-root.pem").write_bytes(bytes(300_000))
    with pytest.raises(ConfigError, match=r"tls-root.pem: too large"):
        load_pki(folder)
    (folder / "tls-root.pem").unlink()
    (folder / "tls-root.pem").mkdir()
    with pytest.raises(ConfigError, match=r"tls-root.pem: not a file"):
        load_pki(folder)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(ConfigError, match="no PKI here: expected a folder"):
        load_pki(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------ other people's tools


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def openssl(*arguments, cwd):
    done = run("openssl", *map(str, arguments), cwd=cwd)
    assert done.returncode == 0, done.stderr


@needs_openssl
def test_openssl_agrees_with_all_chains(pki, tmp_path):
    pki.save(tmp_path)
    for root, leaves in (
        ("ci/certificate.pem", ["ci/certificate.pem", "eum/certificate.pem", "smdp/auth/certificate.pem"]),
        ("tls-root.pem", ["smdp/tls/certificate.pem"]),
    ):
        for leaf in leaves:
            done = run("openssl", "verify", "-x509_strict", "-no_check_time", "-CAfile", root, leaf, cwd=tmp_path)
            assert done.stdout.strip() == f"{leaf}: OK"


@needs_openssl
@pytest.mark.parametrize("curve", ["prime256v1", "brainpoolP256r1"])
def test_a_pki_made_with_openssl_is_taken(tmp_path, curve):
    """CI, EUM, eUICC and SM-DP+ under other names and OIDs, made by the openssl command."""
    signing = "keyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n"
    san = "subjectAltName=DNS:localhost,RID:1.2.250.1.77\n"
    role = "certificatePolicies=critical,2.23.146.1.2.1."
    authority = "authorityKeyIdentifier=keyid\nbasicConstraints=critical,CA:TRUE"
    parts = {
        "ci": ("/O=Elsewhere/CN=Root", None, f"{authority}\nkeyUsage=critical,keyCertSign,cRLSign\n{role}0\n"),
        "eum": (
            "/O=Chips of Elsewhere/CN=EUM 9",
            "ci",
            f"{authority},pathlen:0\nkeyUsage=critical,keyCertSign\n{role}2\nnameConstraints=critical,permitted;dirName:dn\n"
            "[dn]\nO=Chips of Elsewhere\nserialNumber=89033023\n",
        ),
        EUICC_9: (f"/O=Chips of Elsewhere/serialNumber={EUICC_9[6:]}", "eum", f"{signing}{role}1\n"),
        "smdp/auth": ("/CN=rsp elsewhere", "ci", f"{signing}{san}{role}4\n"),
        "smdp/pb": ("/CN=rsp elsewhere, pb", "ci", f"{signing}{san}{role}5\n"),
        "smdp/tls": ("/CN=localhost", "ci", f"{signing}{san}extendedKeyUsage=serverAuth\n"),
    }
    for part, (subject, issuer, extensions) in parts.items():
        folder = tmp_path / part
        folder.mkdir(parents=True)
        (folder / "ext").write_text(f"subjectKeyIdentifier=hash\n{extensions}")
        openssl("ecparam", "-name", curve, "-genkey", "-out", "key.pem", cwd=folder)
        openssl("req", "-new", "-key", "key.pem", "-subj", subject, "-out", "csr", cwd=folder)
        signer = (
            ["-CA", tmp_path / issuer / "certificate.pem", "-CAkey", tmp_path / issuer / "key.pem", "-CAcreateserial"]
            if issuer
            else ["-key", "key.pem"]
        )
        request = ["x509", "-req", "-in", "csr", "-days", "3000", "-sha256", "-extfile", "ext", *signer]
        openssl(*request, "-out", "certificate.pem", cwd=folder)
    shutil.copy(tmp_path / "ci/certificate.pem", tmp_path / "tls-root.pem")
    pki = load_pki(tmp_path)
    assert pki.curve.implementation.name == {"prime256v1": "secp256r1"}.get(curve, curve)
    assert Certificate.load(pki.smdp_pb.certificate).oid == "1.2.250.1.77"
    # Our own eUICC under the foreign EUM takes over its organization.
    made = pki.issue_euicc(make_eid(5, iin="89033023"), SeededRandomness("x")).signing[0].euicc_certificate
    assert Certificate.load(made).organization == "Chips of Elsewhere"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *_):
        pass


@pytest.fixture
def https(tmp_path):
    """A TLS server with a PKI of today: the folder and the port."""
    runner = CliRunner()
    for curve in Curve:
        done = runner.invoke(cli, ["init", str(tmp_path / curve.value), "--curve", curve.value, "--host", "rsp.lab"])
        assert done.exit_code == 0, done.output
    servers = []

    def serve(curve):
        server = HTTPServer(("127.0.0.1", 0), Answer)
        server.socket = tls_context(load_pki(tmp_path / curve)).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return tmp_path / curve, server.server_port

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@needs_curl
@pytest.mark.parametrize("curve", ["p256", "brainpool"])
def test_curl_trusts_the_server_by_the_tls_root(https, curve):
    folder, port = https(curve)
    command = ("curl", "-sS", "--noproxy", "*", "--cacert", str(folder / "tls-root.pem"))
    assert run(*command, f"https://localhost:{port}/").stdout == "here"
    assert run(*command, f"https://127.0.0.1:{port}/").stdout == "here"
    assert run(*command, "--resolve", f"rsp.lab:{port}:127.0.0.1", f"https://rsp.lab:{port}/").stdout == "here"
    assert run(*command, "--resolve", f"else.lab:{port}:127.0.0.1", f"https://else.lab:{port}/").returncode == 60


@pytest.mark.parametrize("curve", ["p256", "brainpool"])
def test_python_trusts_the_server_in_strict_mode(https, curve):
    folder, port = https(curve)
    context = ssl.create_default_context(cafile=folder / "tls-root.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    client = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    client.request("GET", "/")
    assert client.getresponse().read() == b"here"
    client.close()


# ------------------------------------------------------------------------------------------ the command


def test_init_makes_a_pki_for_the_eids_that_are_asked_for(tmp_path):
    eids = [make_eid(1).hex(), make_eid(2, iin="89033023").hex()]
    options = [option for eid in eids for option in ("--eid", eid)]
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "new" / "pki"), "--json", *options])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["curve"] == "p256"
    assert [row["part"] for row in document["certificates"]][2:4] == sorted(f"euicc/{eid}" for eid in eids)
    checked = CliRunner().invoke(cli, ["check", str(tmp_path / "new" / "pki"), "--json"])
    assert json.loads(checked.stdout) == document


def test_init_refuses_bad_input_and_changes_nothing(tmp_path):
    for options in (["--eid", "123"], ["--host", "a b"], ["--eid", "89049032123451234512345678901236"]):
        done = CliRunner().invoke(cli, ["init", str(tmp_path / "pki"), *options])
        assert isinstance(done.exception, BenchError)
        assert not (tmp_path / "pki").exists()
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "pki"), "--curve", "p521"]).exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(folder):
    Path(folder / "smdp/pb/key.pem").chmod(0)
    with pytest.raises(ConfigError, match=r"smdp/pb/key.pem: cannot read: Permission denied"):
        load_pki(folder)
