"""``serve eim``: its token, and what devices are told of its TLS."""

import secrets
import stat
import time
from dataclasses import replace

import pytest

from esim_bench.cli.main import invoke
from esim_bench.cli.serve_eim import LEAST_BITS, TlsPin, _ca_file, _name, _pin, strength, the_token
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError
from esim_bench.servers.pki import create_pki

NOW = 1_767_225_600_000_000_000
PKI = create_pki(SeededRandomness("7"), now_ns=NOW)


def test_a_token_is_made_once_and_kept_secret(tmp_path):
    first = the_token(None, None, tmp_path / "eim.db", foreign=True)
    assert first.file == tmp_path / "eim.db.token"
    assert stat.S_IMODE(first.file.stat().st_mode) == 0o600
    assert strength(first.text) > LEAST_BITS
    assert the_token(None, None, tmp_path / "eim.db", foreign=True) == first
    assert the_token(None, tmp_path / "other" / "token", tmp_path / "eim.db", foreign=True).text != first.text


def test_without_a_database_it_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    assert the_token(None, None, None, foreign=False).file == tmp_path / "home" / "eim.token"


def test_random_tokens_of_any_usual_form_are_strong_enough():
    for _ in range(200):
        for token in (secrets.token_urlsafe(24), secrets.token_hex(32), secrets.token_urlsafe(32)):
            assert strength(token) >= LEAST_BITS, token


@pytest.mark.parametrize(
    "token", ["a", "secret", "labtoken", "12345678901234567890", "a" * 64, "ab" * 32, "Passw0rd!", "deadbeef" * 2]
)
def test_what_can_be_guessed_serves_this_machine_alone(token):
    assert the_token(token, None, None, foreign=False).text == token
    with pytest.raises(ConfigError, match="can be guessed") as caught:
        the_token(token, None, None, foreign=True)
    assert repr(token) not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "tab\t", "ü" * 30, "x" * 1025])
def test_what_is_no_token(token):
    with pytest.raises(ConfigError, match="not a token"):
        the_token(token, None, None, foreign=False)


def test_two_tokens_and_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match="two tokens"):
        the_token("a", tmp_path / "token", None, foreign=False)
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="not a token"):
        the_token(None, tmp_path / "empty", None, foreign=False)
    with pytest.raises(ConfigError, match="cannot use the token's file"):
        the_token(None, tmp_path / "empty" / "below", None, foreign=False)
    (tmp_path / "open").write_text("token")
    (tmp_path / "open").chmod(0o644)
    assert the_token(None, tmp_path / "open", None, foreign=False).text == "token"


def test_what_devices_are_told_of_the_tls():
    ca = _pin(PKI, None, True)
    assert (ca.certificate, ca.der) == (True, PKI.tls_root)
    assert _pin(PKI, TlsPin.CERTIFICATE, True).der == PKI.eim_tls.certificate
    key = _pin(PKI, TlsPin.KEY, True)
    assert key == _pin(PKI, None, False)
    assert (key.certificate, key.der[:1]) == (False, b"\x30")
    assert _pin(PKI, TlsPin.NONE, True) is None


def test_the_root_that_clients_need(tmp_path):
    PKI.save(tmp_path)
    assert _ca_file(PKI, tmp_path, None) == tmp_path / "tls-root.pem"
    other = create_pki(SeededRandomness("8"), now_ns=NOW, curve=Curve.BRAINPOOL)
    foreign = replace(PKI, eim_tls=other.eim_tls)
    assert _ca_file(foreign, tmp_path, None) == tmp_path / "eim/tls/certificate.pem"
    assert _ca_file(foreign, tmp_path, tmp_path / "mine.pem") == tmp_path / "mine.pem"


def test_the_name_that_is_handed_out():
    assert _name(PKI, "127.0.0.1") == "localhost"
    assert _name(PKI, "0.0.0.0") == "testeim1.example.com"
    named = create_pki(SeededRandomness("7"), now_ns=NOW, hosts=["eim.lab", "10.0.0.5"])
    assert set(Certificate.load(named.eim_tls.certificate).hosts) > {"eim.lab", "10.0.0.5"}
    assert _name(named, "0.0.0.0") == "eim.lab"
    assert _name(named, "10.0.0.5") == "10.0.0.5"


def test_mistakes_are_told(tmp_path, capsys):
    folder = tmp_path / "pki"
    replace(create_pki(SeededRandomness("7"), now_ns=time.time_ns()), eim_tls=None).save(folder)
    start = ["serve", "eim", "--port", "0", "--pki"]
    for arguments, text in (
        ([str(tmp_path / "none")], "esim-bench pki init"),
        ([str(folder)], "no TLS certificate of an eIM"),
        ([str(folder), "--version", "9"], "--version"),
    ):
        assert invoke([*start, *arguments]) == 2
        assert text in capsys.readouterr().err
