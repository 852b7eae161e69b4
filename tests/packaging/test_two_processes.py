"""An SM-DP+ in a process of its own, a slot that downloads from it over TLS by activation code, both on loopback.

Around the SM-DP+ stand servers that do what servers on the network do: bad certificates, redirects, silence.
"""

import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from esim_bench import clock
from esim_bench.cli.common import exit_code_of
from esim_bench.cli.main import invoke
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.errors import BenchError
from esim_bench.events import NullSink
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import World

COMMAND = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]

RACK = """\
[rack]
name = "two"
pki = "pki"

[network]
timeout = 5
retries = 0

[[slot]]
name = "A1"
form_factor = "iSIM"
sim = { personality = "isim" }
"""


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a PKI and a rack under it."""
    folder = tmp_path_factory.mktemp("two")
    assert invoke(["pki", "init", str(folder / "pki")]) == 0
    (folder / "rack.toml").write_text(RACK)
    return folder


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """Run ``serve smdp`` until the block ends; yields what it announced."""
    arguments = ["serve", "smdp", "--pki", "pki", "--port", "0", "--profile", "operational-a", "--json", *options]
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line.startswith("}"):
                    break
            yield json.loads(text)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def server(bench_folder: Path) -> Iterator[dict[str, Any]]:
    with serving(bench_folder, "--matching-id", "SECRET-1", "--test-order") as document:
        yield document


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def bench(bench_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line of this process, with a home of this test's own: exit code, JSON document, stderr."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = invoke([*arguments, "--rack", str(bench_folder / "rack.toml"), "--json"])
        output = capsys.readouterr()
        return code, json.loads(output.out), output.err

    return run


# ------------------------------------------------------------------------------------------------ the main way


def test_a_slot_downloads_over_tls(server: dict[str, Any], bench: Run) -> None:
    (code,) = server["activation_codes"]
    exit_code, document, error = bench("euicc", "download", "A1", code, "--tls-roots", server["ca"])
    assert exit_code == 0, error
    assert len(document["installed"]) == 1
    # Before anything was sent it was said whom the eUICC trusts.
    assert "the eUICC trusts the CI of this bench" in error
    _, profiles, _ = bench("euicc", "profiles", "A1")
    assert [profile["state"] for profile in profiles] == ["disabled"]


def test_provisioning_by_activation_code_leaves_no_secret_in_the_run(
    server: dict[str, Any], bench: Run, tmp_path: Path
) -> None:
    (code,) = server["activation_codes"]
    exit_code, document, error = bench(
        *("run", "provision", "-p", f"activation_code={code}", "-p", "confirmation_code=4711-2"),
        *("--tls-roots", server["ca"], "--trace-dir", str(tmp_path)),
    )
    assert (exit_code, document["outcome"]) == (0, "PASS"), (document, error)
    assert document["params"]["activation_code"].endswith("$***")
    stored = next((Path(os.environ["ESIM_BENCH_HOME"])).rglob("run.json")).read_text()
    for text in (json.dumps(document), stored, error):
        assert "SECRET-1" not in text
        assert "4711-2" not in text


def test_an_unknown_matching_id_is_refused_without_repeating_it(server: dict[str, Any], bench: Run) -> None:
    (code,) = server["activation_codes"]
    other = code.replace("SECRET-1", "SECRET-2")
    exit_code, document, error = bench("euicc", "download", "A1", other, "--tls-roots", server["ca"])
    assert exit_code == 1
    assert "8.2.6/3.8" in document["error"]["message"]
    assert "SECRET" not in json.dumps(document) + error


# ------------------------------------------------------------------------------------------------ certificates


def certificate(folder: Path, host: str, *, days: int = 1, issuer: Path | None = None) -> tuple[str, str]:
    """Make a TLS certificate that ends in ``days`` and return its files; self-signed, or by the PKI's TLS root."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    issuer_name, signer = name, key
    if issuer is not None:
        root = x509.load_pem_x509_certificate((issuer / "certificate.pem").read_bytes())
        loaded = load_pem_private_key((issuer / "key.pem").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        issuer_name, signer = root.subject, loaded
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "tls-key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(folder / "tls.pem"), str(folder / "tls-key.pem")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TLS root: certificate.pem and key.pem."""
    folder = tmp_path_factory.mktemp("root")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=60))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder


@pytest.mark.parametrize(
    ("host", "days", "signed", "said"),
    [
        ("localhost", -1, True, "it has expired"),
        ("localhost", 1, False, "it is self-signed"),
        ("other.example.com", 1, True, "it is for another host"),
    ],
)
def test_a_bad_certificate_is_refused_with_the_reason(
    *, bench_folder: Path, bench: Run, root: Path, tmp_path: Path, host: str, days: int, signed: bool, said: str
) -> None:
    cert, key = certificate(tmp_path, host, days=days, issuer=root if signed else None)
    options = ("--tls-cert", cert, "--tls-key", key, "--address", "localhost", "--matching-id", "X")
    with serving(bench_folder, *options) as document:
        (code,) = document["activation_codes"]
        assert code.startswith("LPA:1$localhost:")
        exit_code, answer, _ = bench("euicc", "download", "A1", code, "--tls-roots", str(root / "certificate.pem"))
    assert exit_code == 3
    assert f"the server's certificate was refused: {said}" in answer["error"]["message"]
    _, profiles, _ = bench("euicc", "profiles", "A1")
    assert profiles == []


def test_a_server_without_a_known_root_is_refused_with_the_reason(server: dict[str, Any], bench: Run) -> None:
    (code,) = server["activation_codes"]
    exit_code, document, _ = bench("euicc", "download", "A1", code)
    assert exit_code == 3
    assert "certificate was refused: its " in document["error"]["message"]
    assert "--tls-roots" in document["error"]["message"]


def test_tls_material_that_makes_no_sense_is_told(bench_folder: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "localhost")
    other = tmp_path / "other"
    other.mkdir()
    _, strange = certificate(other, "localhost")
    pki = ("serve", "smdp", "--pki", str(bench_folder / "pki"), "--port", "0")
    for options in (("--tls-cert", cert), ("--tls-key", key), ("--tls-cert", key, "--tls-key", cert)):
        assert invoke([*pki, *options]) == 2
    assert invoke([*pki, "--tls-cert", cert, "--tls-key", strange]) == 2


# ----------------------------------------------------------------------------------------------- other people's servers


@contextmanager
def foreign(root: Path, folder: Path, answer: bytes | None) -> Iterator[int]:
    """A TLS server for localhost that gives each client the same bytes; empty: it closes, None: it keeps silent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder, "localhost", issuer=root))
    over = threading.Event()

    def client(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            # All of it: a server that closes with something unread resets the connection.
            request = b""
            while b"\r\n\r\n" not in request or len(request) < _length(request):
                request += tls.recv(65536)
            if answer is None:
                over.wait(20)
            else:
                tls.sendall(answer)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _length(request: bytes) -> int:
    head, _, _ = request.partition(b"\r\n\r\n")
    stated = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(head) + 4 + int(stated.partition(b":")[2])


def http(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


DID: Mapping[str, tuple[bytes | None, int, Sequence[str]]] = {
    "500": (http("500 Broken", b"out of order"), 3, ("expected HTTP 200, found 500 out of order",)),
    "no JSON": (http("200 OK", b"<html>no JSON</html>"), 1, ("malformed answer to initiateAuthentication", "not JSON")),
    "half an answer": (http("200 OK", b'{"transactionId": "XY"}'), 1, ("malformed answer to initiateAuthentication",)),
    "no HTTP": (b"220 mail.example.com ESMTP\r\n\r\n", 3, ("what the server sent is not HTTP",)),
    "cut short": (http("200 OK", b"{}", length=1000), 3, ("the answer was cut short",)),
    "closed": (b"", 3, ("closed the connection without an answer",)),
    "slow": (None, 1, ("the server did not answer in time", "within 1.5 s")),
}
"""what a server does -> its bytes, the exit code, what the operator is told"""


def test_foreign_servers_that_do_not_work_are_told_by_what_they_did(
    bench_folder: Path, root: Path, tmp_path: Path
) -> None:
    """One slot, started once, meets them all."""
    (bench_folder / "quick.toml").write_text(RACK.replace("timeout = 5", "timeout = 1.5"))
    rack = load_rack(bench_folder / "quick.toml")
    world = World(rack, "1", tls_roots=root / "certificate.pem")

    async def job() -> dict[str, BenchError]:
        slot = open_slot(rack.one("A1"), world, NullSink())
        await slot.start()
        errors = {}
        for name, (answer, _, _) in DID.items():
            with foreign(root, tmp_path, answer) as port:
                try:
                    await slot.install(ActivationCode(f"localhost:{port}", "SECRET-3"))
                except BenchError as exc:
                    errors[name] = exc
        assert await slot.lpa.profiles() == []
        await slot.close()
        return errors

    errors = clock.run_real(job())
    for name, (_, exit_code, said) in DID.items():
        message = str(errors[name])
        assert exit_code_of(errors[name]) == exit_code, message
        for part in said:
            assert part in message
        assert "SECRET-3" not in message


def test_a_redirect_is_refused_and_its_target_told(
    *, bench_folder: Path, bench: Run, root: Path, tmp_path: Path
) -> None:
    moved = http("307 Moved", b"", "Location: https://elsewhere.example.com/gsma")
    with foreign(root, tmp_path, moved) as port:
        code, document, error = bench(
            "euicc", "download", "A1", f"LPA:1$localhost:{port}$SECRET-3", "--tls-roots", str(root / "certificate.pem")
        )
    assert code == 3
    assert "is redirected, which is not followed" in document["error"]["message"]
    assert "307 to https://elsewhere.example.com/gsma" in document["error"]["message"]
    assert "SECRET-3" not in json.dumps(document) + error
