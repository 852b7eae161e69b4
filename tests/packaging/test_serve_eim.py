"""``esim-bench serve eim`` as a process of its own: what it refuses, and that others are served meanwhile."""

import base64
import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.ipa_data import IpaCapabilities, IpaEuiccData
from esim_bench.crypto import ecdsa
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.servers.pki import create_pki, make_eid, tls_context

COMMAND = [str(Path(sys.executable).with_name("esim-bench")), "serve", "eim"]
WAIT = 60
KNOWN, UNKNOWN = make_eid(1), make_eid(2)
ASN1 = {"Content-Type": "application/x-gsma-rsp-asn1", "X-Admin-Protocol": "gsma/rsp/v2.1.0"}
NOTHING_TO_DO, EID_NOT_FOUND = bytes.fromhex("BF4F03020101"), bytes.fromhex("BF4F03020102")


@pytest.fixture(scope="module")
def pki():
    return create_pki(SystemRandomness(), now_ns=time.time_ns())


@pytest.fixture(scope="module")
def folder(pki, tmp_path_factory):
    pki.save(tmp_path_factory.mktemp("eim") / "pki")
    return tmp_path_factory.getbasetemp() / "eim0" / "pki"


class Server:
    """A running server and clients of it."""

    def __init__(self, process, document):
        self.process, self.document = process, document
        self.token = Path(document["token_file"]).read_text().strip() if document["token_file"] else ""
        context = ssl.create_default_context(cafile=document["ca"])
        self.http = httpx.Client(verify=context, trust_env=False, timeout=20)
        self.port = int(document["url"].rpartition(":")[2])

    def rest(self, method, path, body=None, token=None):
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        answer = self.http.request(method, f"{self.document['rest']}/{path}", json=body, headers=headers)
        return answer.status_code, answer.json()

    def esipa(self, message, **headers):
        return self.http.post(self.document["url"] + "/gsma/rsp2/asn1", content=message, headers={**ASN1, **headers})

    def poll(self, eid):
        answer = self.esipa(tlv.encode(0xBF4F, tlv.encode(0x5A, eid)))
        assert answer.status_code == 200
        return answer.content

    def slow(self, sent):
        raw = socket.create_connection(("127.0.0.1", self.port))
        context = ssl.create_default_context(cafile=self.document["ca"])
        connection = context.wrap_socket(raw, server_hostname="localhost")
        connection.sendall(sent)
        return connection

    def stop(self, number=signal.SIGTERM):
        self.http.close()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT)
        assert "Traceback" not in err
        return self.process.returncode, out, err


@contextmanager
def serving(folder, *options):
    command = [*COMMAND, "--pki", str(folder), "--port", "0", "--json", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        server = None
        try:
            text = ""
            while not text.endswith("}\n"):
                line = process.stdout.readline()
                if not line:
                    pytest.fail(f"the server ended: {process.stderr.read()}")
                text += line
            server = Server(process, json.loads(text))
            yield server
        finally:
            if server is not None:
                server.http.close()
            process.kill()


def base64_of(data):
    return base64.b64encode(data).decode()


@contextmanager
def redirecting(pki):
    """An SM-DP+ that sends everybody elsewhere; yields its port and the requests that came."""
    listener = socket.create_server(("127.0.0.1", 0))
    context, got = tls_context(pki), []

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(raw, server_side=True) as connection:
                # All of it: a connection that is closed with something unread is reset, and the client tries again.
                with connection.makefile("rb") as request:
                    got.append(request.readline().strip())
                    headers = dict(line.lower().split(b": ") for line in iter(request.readline, b"\r\n"))
                    request.read(int(headers[b"content-length"]))
                where = f"https://localhost:{listener.getsockname()[1]}/elsewhere"
                head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], got
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_what_is_refused_does_nothing_to_others(pki, folder, tmp_path):
    db = tmp_path / "eim.sqlite"
    with ExitStack() as lines, serving(folder, "--db", db) as server:
        assert stat.S_IMODE(Path(server.document["token_file"]).stat().st_mode) == 0o600
        assert (server.document["eim_id"], server.document["rest"]) == (
            "testeim1.example.com",
            server.document["url"] + "/api/v1",
        )
        branch = pki.issue_euicc(KNOWN, SystemRandomness()).signing[0]
        device = {
            "eid": KNOWN.hex(),
            "euicc_certificate": base64_of(branch.euicc_certificate),
            "eum_certificate": base64_of(branch.eum_certificate),
        }
        assert server.rest("POST", "devices", device)[0] == 201
        made = server.rest("POST", f"devices/{KNOWN.hex()}/configuration")[1]
        configuration = EimConfigurationData.parse(base64.b64decode(made["configuration"]))
        assert configuration.fqdn == f"localhost:{server.port}"
        assert (configuration.tls_key.certificate, configuration.tls_key.der) == (True, pki.tls_root)

        # Clients that never finish stay on the line during all that follows.
        head = b"POST /gsma/rsp2/asn1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-gsma-rsp-asn1\r\n"
        for sent in (b"", b"POST ", head, head + b"Content-Length: 100\r\n\r\n\xbf\x4f"):
            lines.enter_context(server.slow(sent))

        assert server.poll(KNOWN) == NOTHING_TO_DO
        assert server.poll(UNKNOWN) == EID_NOT_FOUND

        # A result that somebody else signed.
        assert server.rest("PUT", f"devices/{KNOWN.hex()}/association", {"token": 5})[0] == 200
        package = {"kind": "package", "operations": [{"op": "getRAT"}]}
        _, order = server.rest("POST", f"devices/{KNOWN.hex()}/orders", package)
        request = euicc_package.EuiccPackageRequest.parse(tlv.parse(server.poll(KNOWN)).children()[0].raw)
        signed = euicc_package.result_signed(
            request.eim_id, request.counter, 1, [OperationResult("getRAT")], request.transaction_id
        )

        def result(key):
            signature = ecdsa.sign(key, euicc_package.to_be_signed(signed, 5), deterministic=True)
            members = tlv.encode(0x5A, KNOWN), euicc_package.signed_result(signed, signature)
            return server.esipa(tlv.encode(0xBF50, *members)).content

        assert result(pki.eim.key) == bytes.fromhex("BF500302017F")
        assert server.rest("GET", f"orders/{order['id']}")[1]["state"] == "sent"

        assert server.esipa(b"x" * (64 * 1024 + 1)).status_code == 413
        assert server.esipa(b"\xbf\x4f").status_code == 400
        assert server.esipa(b"", **{"Content-Type": "text/plain"}).status_code == 415
        with httpx.Client(verify=False, trust_env=False) as stranger:
            assert stranger.get(f"https://127.0.0.1:{server.port}/elsewhere").status_code == 404

        assert server.rest("GET", "devices", token="guessed") == (401, {"error": "a bearer token is needed"})
        assert server.rest("GET", "openapi.json", token="guessed")[0] == 401
        assert server.rest("GET", "devices/")[0] == 404
        assert server.rest("POST", "devices", {"eid": "x" * 70000})[0] == 413

        # The right one is taken all the same, and once only.
        assert result(branch.private_key) == bytes.fromhex("BF5006BF5303800101")
        assert server.rest("GET", f"orders/{order['id']}")[1]["state"] == "done"
        assert server.poll(KNOWN) == NOTHING_TO_DO

        with redirecting(pki) as (port, got):
            code = f"LPA:1$localhost:{port}$SECRET-ID"
            download = {"kind": "download", "activation_code": code, "held": True}
            server.rest("POST", "devices", {"eid": KNOWN.hex(), "indirect": True})
            assert server.rest("POST", f"devices/{KNOWN.hex()}/orders", download)[0] == 201
            # What it can do, the eIM wants to know first.
            asked = tlv.parse(server.poll(KNOWN)).get(0xBF52)
            info1 = tlv.encode(0xBF20, bytes.fromhex("8203020500A900AA00"))
            told = IpaEuiccData(
                euicc_info1=info1,
                euicc_certificate=branch.euicc_certificate,
                eum_certificate=branch.eum_certificate,
                transaction_id=asked.get(0x83).value,
                capabilities=IpaCapabilities(("indirectRspServerCommunication", "eimDownloadDataHandling")),
            ).encode()
            server.esipa(tlv.encode(0xBF50, tlv.encode(0x5A, KNOWN), told))
            trigger = tlv.parse(server.poll(KNOWN)).get(0xBF54)
            members = tlv.encode(0x81, bytes(16)), info1, tlv.encode(0x82, trigger.get(0x82).value)
            assert server.esipa(tlv.encode(0xBF39, *members)).content == bytes.fromhex("BF390381017F")
            assert got == [b"POST /gsma/rsp2/es9plus/initiateAuthentication HTTP/1.1"]

        code, out, err = server.stop()
        assert (code, out) == (0, "")
        for told in (
            "eidNotFound",
            "signature",
            "too large",
            "malformed",
            "wrong content type",
            "wrong token",
            "redirected",
        ):
            assert told in err, told
        assert "SECRET-ID" not in err
        assert server.token not in err

    # Orders and token are there again.
    with serving(folder, "--db", db, "--version", "1.0.1", "--eim-id", "other") as again:
        assert again.token == server.token
        assert (again.document["version"], again.document["eim_id"]) == ("1.0.1", "other")
        orders = again.rest("GET", "orders")[1]["orders"]
        assert [one["state"] for one in orders if not one["purpose"]] == ["done", "sent"]
        assert again.stop(signal.SIGINT)[0] == 0


def test_a_port_of_its_own_for_the_api(folder, tmp_path):
    (tmp_path / "token").write_text("given-by-the-lab\n")
    (tmp_path / "token").chmod(0o600)
    with serving(folder, "--rest-port", 0, "--token-file", tmp_path / "token") as server:
        assert server.token == "given-by-the-lab"
        assert server.rest("GET", "eim")[1]["version"] == "1.2"
        assert server.poll(UNKNOWN) == EID_NOT_FOUND
        with server.slow(b"GET /api/v1/eim HTTP/1.1\r\nHost: localhost\r\n\r\n") as line:
            assert line.recv(100).startswith(b"HTTP/1.1 404")
        assert server.stop()[0] == 0


def refused(*options):
    done = subprocess.run([*COMMAND, *map(str, options)], capture_output=True, text=True, timeout=WAIT, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    return done.stderr


def test_nobody_can_guess_a_token_that_opens_to_the_world(folder):
    text = refused("--pki", folder, "--port", 0, "--host", "0.0.0.0", "--token", "labtoken")
    assert "a token that can be guessed" in text
    assert "labtoken" not in text
