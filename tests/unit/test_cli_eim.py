"""``esim-bench eim``: one simulated IoT slot steered by hand, command after command."""

import asyncio
import base64
import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from esim_bench.cli.eim_way import RestEim, read_configuration
from esim_bench.cli.main import invoke
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import BenchError, CodecError, ConfigError, ProtocolError, TransportError
from esim_bench.rack.network import DEFAULT_NETWORK
from esim_bench.servers.eim import Eim, EimCredentials, SqliteEimStore
from esim_bench.servers.eim.credentials import public_der
from esim_bench.servers.eim.rest import rest_app
from esim_bench.servers.pki import create_pki

RACK = """\
[rack]
name = "iot"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global", rsp = ["sgp32-1.2"] }

[[slot]]
name = "S1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global" }
"""
BOOTSTRAP, OPERATIONAL = "8988211000000000003", "8988211000000000011"
TOKEN = "a-token-of-the-test"
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line on the rack: its JSON document; with ``fails`` it must end with that exit code."""
    rack = tmp_path / "rack.toml"
    rack.write_text(RACK)

    def run(*arguments: str, fails: int = 0) -> Any:
        capsys.readouterr()
        code = invoke([*arguments, "--rack", str(rack), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert code == fails, document
        return document

    return run


def states(document: list[dict[str, Any]]) -> dict[str, str]:
    return {one["iccid"]: one["state"] for one in document}


def test_a_slot_is_steered_from_one_command_to_the_next(bench: Run) -> None:
    made = bench("eim", "associate", "A1")
    assert (made["state"], made["eims"]) == (
        "associated",
        [{"eim_id": "testeim1.example.com", "association_token": 1}],
    )
    assert bench("eim", "associate", "A1")["state"] == "already associated"
    (known,) = bench("euicc", "eims", "A1")
    assert (known["eim_id"], known["association_token"], known["tls_pinned"]) == ("testeim1.example.com", 1, True)

    assert bench("eim", "order", "A1", "download", "--profile", "operational-a")["state"] == "done"
    assert bench("eim", "order", "A1", "enable", "0011", "--rollback")["outcome"] == "ok"
    assert states(bench("euicc", "profiles", "A1")) == {BOOTSTRAP: "disabled", OPERATIONAL: "enabled"}
    told = bench("eim", "status", "A1")
    assert told["associated"] is True
    assert [one["state"] for one in told["orders"] if not one["purpose"]] == ["done", "done"]
    assert told["device"]["view"]["enabled"] == OPERATIONAL

    refused = bench("eim", "order", "A1", "delete", OPERATIONAL, fails=1)
    assert (refused["state"], refused["outcome"]) == ("failed", "delete: profileNotInDisabledState")
    assert bench("eim", "order", "A1", "enable", BOOTSTRAP)["state"] == "done"
    assert bench("eim", "order", "A1", "delete", OPERATIONAL)["state"] == "done"
    assert states(bench("euicc", "profiles", "A1")) == {BOOTSTRAP: "enabled"}


def test_an_order_waits_for_the_next_poll(bench: Run) -> None:
    bench("eim", "associate", "A1")
    made = bench("eim", "order", "A1", "default-address", "smdp.example.com", "--no-poll")
    assert made["state"] == "queued"
    report = bench("eim", "poll", "A1")
    assert [one["results"] for one in report["done"] if one["kind"] == "package"] == [["setDefaultDpAddress ok"]]
    assert bench("euicc", "default-address", "A1")["default_smdp"] == "smdp.example.com"
    assert bench("eim", "poll", "A1") == {"done": [], "errors": {}}


@pytest.mark.parametrize(
    ("what", "function"), [("list-profiles", "listProfileInfo"), ("get-rat", "getRAT"), ("list-eims", "listEim")]
)
def test_questions_have_answers(bench: Run, what: str, function: str) -> None:
    bench("eim", "associate", "A1")
    (result,) = bench("eim", "order", "A1", what)["results"]
    assert (result["function"], result["name"]) == (function, "ok")


def test_data_of_the_euicc_and_its_ipa(bench: Run) -> None:
    bench("eim", "associate", "A1")
    data = bench("eim", "data", "A1", "euiccInfo2", "ipaCapabilities")["data"]
    assert base64.b64decode(data["euicc_info2"]).startswith(b"\xbf\x22")
    assert data["capabilities"]["protocols"] == ["ipaRetrieveHttps"]
    assert "expected" in bench("eim", "data", "A1", "phaseOfTheMoon", fails=2)["error"]["message"]


def test_another_eim_by_its_configuration(bench: Run, tmp_path: Path) -> None:
    key = generate(Curve.P256, SeededRandomness("another"))
    other = EimConfigurationData(
        "eim.example.org",
        fqdn="eim.example.org",
        id_type=2,
        counter=5,
        association_token=-1,
        public_key=KeyData(public_der(key)),
        protocols=("eimRetrieveHttps",),
    )
    file = tmp_path / "other.der"
    file.write_bytes(other.encode())
    made = bench("eim", "associate", "A1", "--config", str(file))
    assert [one["eim_id"] for one in made["eims"]] == ["eim.example.org"]
    assert [one["fqdn"] for one in bench("euicc", "eims", "A1")] == ["eim.example.org"]
    # Who comes first, decides: only an associated eIM may add others.
    assert "associatedEimAlreadyExists" in bench("eim", "associate", "A1", fails=1)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("order", "A1", "enable"), "an ICCID"),
        (("order", "A1", "get-rat", "1"), "nothing after it"),
        (("order", "A1", "download"), "activation code"),
        (("order", "A1", "disable", "0003", "--rollback"), "--rollback"),
        (("order", "A1", "list-eims", "--profile", "operational-a"), "download"),
        (("order", "A1", "download", "--profile", "operational-a", "--no-poll"), "--no-poll"),
        (("order", "A1", "list-eims"), "esim-bench eim associate A1"),
        (("status", "A1", "--token", "x"), "--eim"),
        (("status", "A1", "--eim", "https://localhost"), "no token"),
        (("status", "A1", "--eim", "http://localhost", "--token", "x"), "https://"),
    ],
)
def test_mistakes_say_what_was_expected(bench: Run, arguments: tuple[str, ...], says: str) -> None:
    assert says in bench("eim", *arguments, fails=2)["error"]["message"]


def test_a_consumer_euicc_has_no_eims(bench: Run) -> None:
    assert "BF55" in bench("euicc", "eims", "S1", fails=1)["error"]["message"]
    assert bench("eim", "status", "S1")["device"] is None


# -------------------------------------------------------------------------------------------------------- a served eIM


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Eim]:
    """An eIM whose REST API answers all that the command line's HTTP client asks for."""
    pki = create_pki(SeededRandomness("served"), now_ns=time.time_ns())
    assert pki.eim is not None
    with contextlib.closing(SqliteEimStore()) as store:
        credentials = EimCredentials("served.example.com", "served.example.com", pki.eim.key)
        eim = Eim(credentials, store, SeededRandomness("eim"), time.time_ns, trusted_cis=[pki.ci_key])
        transport = httpx.ASGITransport(app=rest_app(eim, TOKEN, time.time_ns))
        monkeypatch.setattr(httpx, "AsyncClient", functools.partial(httpx.AsyncClient, transport=transport))
        yield eim


REMOTE = ("--eim", "https://served.example.com", "--token", TOKEN)


def test_a_served_eim_is_told_of_the_association(bench: Run, served: Eim, tmp_path: Path) -> None:
    made = bench("eim", "associate", "A1", "--indirect", *REMOTE)
    assert made["eims"] == [{"eim_id": "served.example.com", "association_token": 1}]
    (device,) = served.devices()
    assert (device.eid.hex(), device.label, device.token, device.indirect) == (made["eid"], "A1", 1, True)
    waiting = bench("eim", "order", "A1", "enable", BOOTSTRAP, "--rollback", "--no-poll", *REMOTE)
    assert waiting["ordered"]["operations"] == [{"op": "enable", "iccid": BOOTSTRAP, "rollback": True}]
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    told = bench("eim", "status", "A1", *REMOTE[:2], "--token", f"@{file}")
    assert (told["eim_id"], [one["state"] for one in told["orders"]]) == ("served.example.com", ["queued"])


def test_a_served_eim_refuses_with_words(bench: Run, served: Eim) -> None:
    wrong = bench("eim", "status", "A1", *REMOTE[:2], "--token", "wrong", fails=2)
    assert "refused the token" in wrong["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, content=b"<html>"), ProtocolError),
        (httpx.Response(200, json=[1]), ProtocolError),
        (httpx.Response(409, json={"error": "not now"}), ConfigError),
        (httpx.ConnectError("nobody"), TransportError),
    ],
)
def test_what_is_no_rest_api(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception, error: type[BenchError]
) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = functools.partial(httpx.AsyncClient, transport=httpx.MockTransport(reply))
    monkeypatch.setattr(httpx, "AsyncClient", client)
    with pytest.raises(error):
        asyncio.run(RestEim("served.example.com:8444", TOKEN, None, DEFAULT_NETWORK).eim_id())


def test_forms_of_a_configuration(tmp_path: Path) -> None:
    raw = EimConfigurationData("eim.example.org", fqdn="eim.example.org").encode()
    file = tmp_path / "configuration"
    as_json = json.dumps({"configuration": base64.b64encode(raw).decode()}).encode()
    for text in (raw, raw.hex().encode() + b"\n", base64.b64encode(raw), as_json):
        file.write_bytes(text)
        assert read_configuration(file) == raw
    for text in (b"", b"{}", b"{", b"no configuration!", b"\xff\xfe"):
        file.write_bytes(text)
        with pytest.raises(CodecError, match="configuration"):
            read_configuration(file)


def test_info_tells_what_of_sgp32_an_euicc_has(bench: Run) -> None:
    iot = bench("euicc", "info", "A1")
    assert (iot["sgp32_versions"], iot["ipa_mode"], iot["ecall"]) == (["1.2.0"], "ipad", "supported")
    assert "sgp32_versions" not in bench("euicc", "info", "S1")
