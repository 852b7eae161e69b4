"""``esim-bench serve smdp`` as a process of its own, spoken to by curl over TLS on loopback."""

import base64
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from esim_bench.cli.main import invoke
from esim_bench.codec import tlv
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.servers.pki import create_pki

HOST = "testsmdpplus1.example.com"
COMMAND = [str(Path(sys.executable).with_name("esim-bench")), "serve", "smdp"]
WAIT = 60

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "pki"
    create_pki(SystemRandomness(), curve=Curve.P256, hosts=[HOST], now_ns=time.time_ns()).save(folder)
    return folder


@pytest.fixture
def package(tmp_path) -> Path:
    t = tlv.encode
    iccid = t(0x83, bytes.fromhex("89000123456789012341"))
    header = t(0xA0, t(0x80, b"\x02"), t(0x81, b"\x03"), t(0x82, b"test"), iccid, t(0xA5, t(0x81, b"")), t(0xA6))
    path = tmp_path / "package.der"
    path.write_bytes(header + t(0xAA, t(0xA0, t(0x80, b""), t(0x81, b"\x01"))))
    return path


@contextmanager
def serving(pki, *options):
    """Run the server on a free port until the block ends; yields its process and its JSON document."""
    command = [*COMMAND, "--pki", str(pki), "--port", "0", "--json", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            text = ""
            while not text.endswith("}\n"):
                line = process.stdout.readline()
                if not line:
                    pytest.fail(f"the server ended: {process.stderr.read()}")
                text += line
            document = json.loads(text)
            if "error" in document:
                pytest.fail(document["error"]["message"])
            yield process, document
        finally:
            process.kill()


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, out, err


class Curl:
    """POSTs as an LPA would."""

    def __init__(self, document):
        self.document = document
        self.port = document["url"].rpartition(":")[2]

    def __call__(self, function, body, *options, content_type="application/json", method="POST"):
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", self.document["ca"], "-w", "\n%{http_code}"]
        command += ["--max-time", "30", "-X", method]
        command += ["-H", f"Content-Type: {content_type}", "-H", "X-Admin-Protocol: gsma/rsp/v2.2.2"]
        path = function if function.startswith("/") else f"/gsma/rsp2/es9plus/{function}"
        command += ["--data-binary", "@-", *options, self.document["url"] + path]
        data = body if isinstance(body, str) else json.dumps(body)
        done = subprocess.run(command, input=data, capture_output=True, text=True, timeout=WAIT, check=False)
        assert done.returncode == 0, done.stderr
        answer, _, code = done.stdout.rpartition("\n")
        return int(code), answer


def initiate(pki, address=HOST):
    key_id = tlv.encode(0x04, Certificate.load_pem_or_der((pki / "ci" / "certificate.pem").read_bytes()).subject_key_id)
    info = tlv.encode(0xBF20, bytes.fromhex("8203020500"), tlv.encode(0xA9, key_id), tlv.encode(0xAA, key_id))
    return {
        "euiccChallenge": base64.b64encode(bytes(range(16))).decode(),
        "euiccInfo1": base64.b64encode(info).decode(),
        "smdpAddress": address,
    }


def test_curl_speaks_es9_over_tls(pki, package):
    with serving(pki, "--package", package, "--matching-id", "CURL-1", "--test-order") as (process, document):
        curl = Curl(document)
        assert document["url"] == f"https://localhost:{curl.port}"
        assert document["activation_codes"] == [f"LPA:1$localhost:{curl.port}$CURL-1"]
        assert Path(document["ca"]).is_file()

        for address in (HOST, HOST.upper(), f"{HOST}:{curl.port}", "127.0.0.1", "localhost"):
            code, text = curl("initiateAuthentication", initiate(pki, address))
            answer = json.loads(text)
            assert (code, answer["header"]["functionExecutionStatus"]["status"]) == (200, "Executed-Success")
        assert len(bytes.fromhex(answer["transactionId"])) == 16
        signed = tlv.parse(base64.b64decode(answer["serverSigned1"]))
        assert signed.get(0x81).value == bytes(range(16))
        assert signed.get(0x83).value == b"localhost"
        assert base64.b64decode(answer["serverSignature1"])[:3] == b"\x5f\x37\x40"

        assert status(curl("initiateAuthentication", initiate(pki, "elsewhere.example.com"))) == (
            "Failed",
            "8.8.1",
            "3.8",
        )
        cancel = {"transactionId": "AB" * 16, "cancelSessionResponse": "v0EDgQEF"}
        assert status(curl("cancelSession", cancel)) == ("Failed", "8.10.1", "3.9")

        assert curl("initiateAuthentication", "{}", content_type="text/plain")[0] == 415
        assert curl("initiateAuthentication", "{ no json")[0] == 400
        assert curl("initiateAuthentication", {})[0] == 400
        assert curl("initiateAuthentication", "", method="GET")[0] == 405
        assert curl("/elsewhere", {})[0] == 404
        assert curl("initiateAuthentication", "x" * (1024 * 1024 + 1))[0] == 413

        code, out, err = stop(process)
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert "activation code: LPA:1$localhost:" in err


def status(answer):
    code, text = answer
    assert code == 200
    execution = json.loads(text)["header"]["functionExecutionStatus"]
    return execution["status"], execution["statusCodeData"]["subjectCode"], execution["statusCodeData"]["reasonCode"]


def test_the_asn1_binding_is_served_beside(pki, package, tmp_path):
    with serving(pki, "--package", package, "--protect", "ppk") as (process, document):
        fields = initiate(pki)
        members = [
            tlv.encode(0x81, base64.b64decode(fields["euiccChallenge"])),
            tlv.encode(0x83, HOST.encode()),
            base64.b64decode(fields["euiccInfo1"]),
        ]
        request, answer = tmp_path / "request", tmp_path / "answer"
        request.write_bytes(tlv.encode(0xA2, tlv.encode(0xBF39, *members)))
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", document["ca"], "--data-binary", f"@{request}"]
        command += ["-H", "Content-Type: application/x-gsma-rsp-asn1", "-o", str(answer)]
        subprocess.run([*command, document["url"] + "/gsma/rsp2/asn1"], check=True, timeout=WAIT)
        found = tlv.parse(answer.read_bytes()).get(0xBF39, 0xA0)
        assert found.get(0x30, 0x81).value == bytes(range(16))
        assert stop(process)[0] == 0


def test_profiles_of_the_checkout_are_served(pki):
    with serving(pki, "--profile", "operational-a", "--profile", "operational-b") as (process, document):
        first, second = document["activation_codes"]
        assert first != second
        assert first.startswith("LPA:1$localhost:")
        assert stop(process)[0] == 0


def test_a_session_expires(pki):
    with serving(pki, "--session-timeout", "0.2") as (_process, document):
        curl = Curl(document)
        answer = json.loads(curl("initiateAuthentication", initiate(pki))[1])
        time.sleep(0.3)
        cancel = {"transactionId": answer["transactionId"], "cancelSessionResponse": "v0EDgQEF"}
        assert status(curl("cancelSession", cancel)) == ("Expired", "8.10.1", "3.9")


def test_it_speaks_no_plain_http_and_tls_must_be_verified(pki):
    with serving(pki) as (process, document):
        port = document["url"].rpartition(":")[2]
        plain = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}/"], capture_output=True, check=False
        )
        assert plain.returncode != 0
        untrusted = ["curl", "-sS", "--noproxy", "*", document["url"]]
        assert subprocess.run(untrusted, capture_output=True, check=False).returncode == 60
        assert stop(process, signal.SIGINT)[0] == 0


def test_a_file_keeps_the_orders(pki, package, tmp_path):
    options = ["--db", tmp_path / "smdp.sqlite", "--package", package, "--confirmation-code", "4711"]
    for _ in range(2):
        with serving(pki, *options, "--address", "dp.example.com") as (process, document):
            (code,) = document["activation_codes"]
            assert code.startswith("LPA:1$dp.example.com:")
            assert code.endswith("$$1")
            assert "4711" not in json.dumps(document)
            assert stop(process)[0] == 0


def test_orders_of_an_eid(pki, package):
    with serving(pki, "--package", package, "--eid", "89" * 16) as (process, document):
        assert document["activation_codes"] == [document["url"].replace("https://", "LPA:1$") + "$"]
        assert stop(process)[0] == 0


def test_a_mistake_ends_the_process_with_its_code(tmp_path):
    missing = tmp_path / "none"
    done = subprocess.run([*COMMAND, "--pki", missing], capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"esim-bench pki init {missing}" in done.stderr


def test_mistakes_are_told(pki, package, tmp_path, capsys):
    def refused(*options):
        code = invoke(["serve", "smdp", *map(str, options)])
        text = capsys.readouterr().err
        assert "Traceback" not in text
        return code, text

    code, text = refused("--pki", pki, "--package", tmp_path / "none.der")
    assert (code, "none.der" in text) == (2, True)
    code, text = refused("--pki", pki, "--package", package, "--matching-id", "lower case")
    assert (code, "MatchingID" in text) == (2, True)
    code, text = refused("--pki", pki, "--package", package, "--eid", "8900")
    assert (code, "32 digits" in text) == (2, True)
    code, text = refused("--pki", pki, "--matching-id", "ALONE")
    assert (code, "more MatchingIDs" in text) == (2, True)
    code, text = refused("--pki", pki, "--db", tmp_path / "no" / "folder")
    assert (code, "store" in text) == (2, True)
    code, text = refused("--pki", pki, "--host", "192.0.2.1", "--port", "0")
    assert (code, "cannot listen" in text) == (2, True)
