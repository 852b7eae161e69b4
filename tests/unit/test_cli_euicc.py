"""``esim-bench euicc``: one simulated slot by hand, command after command."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segno

from esim_bench.cli.main import invoke
from esim_bench.codec.metadata import Metadata
from esim_bench.rack import world as world_module
from esim_bench.rack.world import SMDP_ADDRESS

RACK = """\
[rack]
name = "one"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global" }

[[slot]]
name = "P1"
form_factor = "4FF"
protect = true
sim = { personality = "4ff", profile = "bootstrap-global" }
"""
Run = Callable[..., Any]


@pytest.fixture
def rack(tmp_path: Path) -> Path:
    path = tmp_path / "rack.toml"
    path.write_text(RACK)
    return path


@pytest.fixture
def euicc(rack: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``euicc ARGUMENTS``: its JSON document; with ``fails`` the error that ends it with that exit code."""

    def run(*arguments: str, fails: int = 0) -> Any:
        capsys.readouterr()
        code = invoke(["euicc", *arguments, "--rack", str(rack), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert code == fails, document
        return document["error"]["message"] if fails else document

    return run


@pytest.fixture
def text(rack: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``euicc ARGUMENTS`` for people."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert invoke(["euicc", *arguments, "--rack", str(rack)]) == 0
        return capsys.readouterr().out

    return run


def test_information_names_the_cis(euicc: Run, text: Callable[..., str]) -> None:
    document = euicc("info", "A1")
    (ci,) = document["cis"]
    assert (ci["key"], ci["own"], ci["verification"], ci["signing"]) == (
        document["ci_keys_verification"][0],
        True,
        True,
        True,
    )
    assert document["served_by_bench"] is True
    shown = text("info", "A1")
    assert f"the CI of this bench ({ci['key']})" in shown
    assert "served by bench" in shown


def test_nicknames(euicc: Run, text: Callable[..., str]) -> None:
    iccid = euicc("profiles", "A1")[0]["iccid"]
    assert euicc("nickname", "A1", iccid[-4:], "Büro") == {"slot": "A1", "iccid": iccid, "nickname": "Büro"}
    assert euicc("profiles", "A1")[0]["nickname"] == "Büro"
    assert "at most 64 bytes" in euicc("nickname", "A1", iccid, "ü" * 33, fails=2)
    assert "(no nickname)" in text("nickname", "A1", iccid)
    assert "no profile of this ICCID" in euicc("nickname", "A1", "0000", "x", fails=2)


def test_the_default_address(euicc: Run, text: Callable[..., str]) -> None:
    before = euicc("default-address", "A1")
    assert before["default_smdp"] is None
    assert euicc("default-address", "A1", "dp.example.com")["default_smdp"] == "dp.example.com"
    assert "dp.example.com" in text("default-address", "A1")
    assert "expected a host name" in euicc("default-address", "A1", "no host", fails=2)
    assert "one of them" in euicc("default-address", "A1", "dp.example.com", "--clear", fails=2)
    assert euicc("default-address", "A1", "--clear") == before


def test_the_rules_authorisation_table(euicc: Run, text: Callable[..., str]) -> None:
    (entry,) = euicc("rat", "A1")
    assert entry["rules"] == ["ppr1", "ppr2"]
    assert entry["operators"][0]["mcc_mnc"] == "xxx-xxx"
    assert entry["consent_required"] is True
    assert "asked for" in text("rat", "A1")


def test_notifications_by_number(euicc: Run, text: Callable[..., str]) -> None:
    iccid = euicc("profiles", "A1")[0]["iccid"]
    euicc("disable", "A1", iccid)
    euicc("enable", "A1", iccid)
    first, second = euicc("notifications", "A1")
    assert (first["operation"], second["operation"], first["state"]) == ("disable", "enable", "waiting")
    assert "needs" not in text("notifications", "A1")
    assert "expected --seq N" in euicc("notifications", "A1", "--remove", fails=2)
    assert "no notification of this number: found 99" in euicc("notifications", "A1", "--seq", "99", fails=2)
    assert "one of them" in euicc("notifications", "A1", "--remove", "--deliver", "--seq", "1", fails=2)
    (gone,) = euicc("notifications", "A1", "--remove", "--seq", str(second["seq"]))
    assert gone["state"] == "removed"
    (delivered,) = euicc("notifications", "A1", "--deliver")
    assert (delivered["seq"], delivered["state"], delivered["delivered"]) == (first["seq"], "delivered", True)
    assert euicc("notifications", "A1") == []


def test_a_memory_reset_by_parts(euicc: Run) -> None:
    euicc("download", "A1", "--profile", "operational-a")
    euicc("default-address", "A1", "dp.example.com")
    assert "expected --operational" in euicc("memory-reset", "A1", fails=2)
    assert euicc("memory-reset", "A1", "--default-address")["default_smdp"] is None
    left = euicc("memory-reset", "A1", "--operational")
    assert left["profiles_left"] < 2
    assert "nothingToDelete" in euicc("memory-reset", "A1", "--operational", fails=1)


def test_a_protected_slot_is_not_reset(euicc: Run) -> None:
    assert "protected slot" in euicc("memory-reset", "P1", "--operational", fails=2)
    euicc("download", "P1", "--profile", "operational-a")
    assert euicc("memory-reset", "P1", "--operational", "--allow-destructive")["profiles_left"] < 2


def test_a_crl_is_loaded_from_a_file(euicc: Run, tmp_path: Path) -> None:
    path = tmp_path / "crl.der"
    assert "crl.der" in euicc("load-crl", "A1", str(path), fails=2)
    path.write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    assert "not a CRL" in euicc("load-crl", "A1", str(path), fails=2)
    path.write_bytes(bytes(1024 * 1024 + 1))
    assert "CRL too large" in euicc("load-crl", "A1", str(path), fails=2)


# ------------------------------------------------------------------------------------------------------- download


def test_one_source_at_a_time(euicc: Run) -> None:
    assert "nothing to download" in euicc("download", "A1", fails=2)
    for more in (("LPA:1$a.b$C", "--default"), ("--default", "--profile", "operational-a")):
        assert "more than one thing" in euicc("download", "A1", *more, fails=2)
    assert "no default SM-DP+ address" in euicc("download", "A1", "--default", fails=1)


def test_an_image_in_the_place_of_the_text(euicc: Run, tmp_path: Path) -> None:
    path = tmp_path / "code.png"
    segno.make(f"LPA:1${SMDP_ADDRESS}$UNKNOWN").save(str(path), scale=4)
    message = euicc("download", "A1", f"@{path}", fails=1)
    assert "8.2.6/3.8" in message
    assert "UNKNOWN" not in message
    assert "no such image" in euicc("download", "A1", "@missing.png", fails=2)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Type lines at the terminal."""

    def type_in(lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))

    return type_in


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("no\n", "endUserRejection", "not wanted"), ("later\n", "postponed", "postponed"), ("", "postponed", "postponed")],
)
def test_the_user_is_asked(euicc: Run, answers: Callable[[str], None], typed: str, code: str, said: str) -> None:
    answers(typed)
    message = euicc("download", "A1", "--profile", "operational-a", "--ask", fails=1)
    assert code in message
    assert said in message
    assert len(euicc("profiles", "A1")) == 1


def test_the_user_says_yes(euicc: Run, answers: Callable[[str], None]) -> None:
    answers("yes\n")
    assert len(euicc("download", "A1", "--profile", "operational-a", "--ask")["installed"]) == 1


def test_the_confirmation_code_is_asked_for(
    euicc: Run, answers: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own SM-DP+ asks for a code that the command line did not give."""
    release = world_module.Smdp.release

    def with_code(self: Any, *arguments: Any, **options: Any) -> Any:
        return release(self, *arguments, **{**options, "confirmation_code": "1234"})

    monkeypatch.setattr(world_module.Smdp, "release", with_code)
    answers("yes\n\n")
    assert "confirmationCodeMissing" in euicc("download", "A1", "--profile", "operational-a", "--ask", fails=1)
    answers("yes\n1234\n")
    assert len(euicc("download", "A1", "--profile", "operational-a", "--ask")["installed"]) == 1


def test_policy_rules_are_agreed_to_at_the_terminal(
    euicc: Run, answers: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = world_module.Smdp.release

    def locked(self: Any, upp: bytes, metadata: bytes, *arguments: Any, **options: Any) -> Any:
        from dataclasses import replace

        owner = (bytes.fromhex("00F110"), None, None)
        changed = replace(Metadata.parse(metadata), policy_rules=("ppr2",), owner=owner)
        return release(self, upp, changed.encode(), *arguments, **options)

    monkeypatch.setattr(world_module.Smdp, "release", locked)
    download = ("download", "P1", "--profile", "operational-a")
    assert "--accept-rules" in euicc(*download, fails=1)
    answers("yes\nno\n")
    assert "were not agreed to" in euicc(*download, "--ask", fails=1)
    answers("yes\nyes\n")
    assert len(euicc(*download, "--ask")["installed"]) == 1


def test_profiles_of_an_iot_euicc_tell_their_roles(capsys: pytest.CaptureFixture[str]) -> None:
    for profile in ("fallback-global", "emergency"):
        assert invoke(["euicc", "download", "A1", "--profile", profile, "--rack", "sim-iot-3"]) == 0
    capsys.readouterr()
    assert invoke(["euicc", "profiles", "A1", "--rack", "sim-iot-3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["role"] for row in rows] == [None, "may be fallback", "emergency"]
