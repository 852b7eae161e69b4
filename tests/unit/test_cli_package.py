"""``esim-bench package`` on the command line."""

import json
from pathlib import Path

import pytest

from esim_bench.cli.main import invoke

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_build_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "a.der"
    assert invoke(["package", "build", "operational-a", "-o", str(target), "--json"]) == 0
    assert target.read_bytes() == (GOLDEN / "operational-a.der").read_bytes()
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == len(target.read_bytes())
    assert document["iccid"] == "8988211000000000011"
    assert document["metadata"].startswith("BF25")


def test_build_from_a_file_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).resolve().parents[2] / "profiles" / "operational-b.toml"
    (tmp_path / "mine.toml").write_text(source.read_text())
    assert invoke(["package", "build", "mine.toml"]) == 0
    assert capsys.readouterr().out.startswith("mine.der: ")
    assert (tmp_path / "mine.der").exists()


def test_inspect_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "inspect", str(GOLDEN / "operational-b.der"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["iccid"], document["imsi"]) == (
        "2.3",
        "8988211000000000029",
        "999700000000201",
    )
    assert document["services"] == ["usim", "milenage"]
    elements = document["elements"]
    assert elements[1] == {
        "index": 1,
        "offset": 91,
        "kind": "mf",
        "identification": 1,
        "mandated": True,
        "bytes": 554,
        "files": 6,
        "contents": "6 files",
    }
    assert [e["kind"] for e in elements][-1] == "end"
    assert sum(e["bytes"] for e in elements) == document["bytes"]


def test_inspect_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "inspect", str(GOLDEN / "operational-a.der")]) == 0
    shown = capsys.readouterr().out
    assert "iccid      8988211000000000011" in shown
    assert "A000000151000000, 3 keys" in shown
    assert "milenage" in shown
    # No key, no PIN.
    assert "A0A1A2A3" not in shown
    assert "11223344" not in shown


def test_lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "lint", str(GOLDEN / "operational-a.der")]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings, 0 notes\n")
    # Without its pukCodes, PIN1 and PIN2 have nothing to be unblocked by.
    raw = (GOLDEN / "operational-a.der").read_bytes()
    at = raw.index(bytes.fromhex("A330A0"))
    bad = tmp_path / "bad.der"
    bad.write_bytes(raw[:at] + raw[at + 50 :])
    assert invoke(["package", "lint", str(bad), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["errors"] == 2
    assert document["findings"][0]["message"] == "PIN 1 needs PUK 1, which comes never"


@pytest.mark.parametrize("command", ["inspect", "lint"])
def test_what_is_no_package_is_a_mistake(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.der"
    file.write_bytes((GOLDEN / "operational-a.der").read_bytes()[:700])
    assert invoke(["package", command, str(file)]) == 2
    assert str(file) in capsys.readouterr().err
    file.write_bytes(b"")
    assert invoke(["package", command, str(file), "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["type"] == "CodecError"
    assert str(file) in captured.err
    file.write_bytes(b"\xa0" * (1024 * 1024 + 1))
    assert invoke(["package", command, str(file)]) == 2
    assert "too large" in capsys.readouterr().err
    assert invoke(["package", command, str(tmp_path)]) == 2
    assert invoke(["package", command, str(tmp_path / "none")]) == 2


def test_an_unknown_profile_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "build", "nobody"]) == 2
    assert "operational-a" in capsys.readouterr().err


def test_control_characters_in_a_package_stay_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = (GOLDEN / "operational-a.der").read_bytes().replace(b"Operational A", b"\x1b[2Jational A")
    file = tmp_path / "odd.der"
    file.write_bytes(raw)
    assert invoke(["package", "inspect", str(file)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_lint_of_a_readable_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "lint", "operational-a"]) == 0
    source = Path(__file__).resolve().parents[2] / "profiles" / "bootstrap-global.toml"
    assert invoke(["package", "lint", str(source), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("operational-a: 0 errors")
    document = json.loads(out.partition("\n")[2])
    first = document["findings"][0]
    assert (first["rule"], first["severity"], first["kind"], first["identification"]) == (
        "arr-pin",
        "note",
        "usim",
        5,
    )


def test_lint_tells_its_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "lint", "--rules"]) == 0
    assert "pin-puk " in capsys.readouterr().out
    assert invoke(["package", "lint", "--rules", "--json"]) == 0
    rules = json.loads(capsys.readouterr().out)
    assert {"rule": "file-size", "severity": "error", "text": "content fits its file"} in rules
    assert invoke(["package", "lint"]) == 2


def test_lint_for_an_euicc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # It has a USIM, but no Milenage; what it has to say comes as bytes or as hexadecimal.
    info = (
        "BF223581030203018203020500830301000084008502064088020780A900AA0004030100000C01788D020780900100B4"
        "07A0050403010200"
    )
    file = tmp_path / "info2"
    for data in (bytes.fromhex(info), info.encode()):
        file.write_bytes(data)
        assert invoke(["package", "lint", "operational-a", "--euicc", str(file)]) == 1
        assert "the eUICC lacks milenage [euicc-service]" in capsys.readouterr().out
    file.write_bytes(b"\xff nothing of the sort")
    assert invoke(["package", "lint", "operational-a", "--euicc", str(file)]) == 2
    assert invoke(["package", "lint", "operational-a", "--euicc", str(tmp_path / "none")]) == 2
    assert invoke(["package", "lint", "operational-a", "--euicc", str(file), "--slot", "A1"]) == 2


def test_lint_for_the_euicc_of_a_slot(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "lint", "operational-a", "--slot", "A1"]) == 0
    assert capsys.readouterr().out == "operational-a: 0 errors, 0 warnings, 0 notes\n"


def test_lint_finds_a_wrong_order_that_other_commands_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = (GOLDEN / "operational-a.der").read_bytes()
    file = tmp_path / "endless.der"
    file.write_bytes(raw[:-9] if raw[-9] == 0xAA else raw[: raw.rindex(b"\xaa\x07")])
    assert invoke(["package", "inspect", str(file)]) == 2
    assert invoke(["package", "lint", str(file), "--json"]) == 1
    (only,) = json.loads(capsys.readouterr().out)["findings"]
    assert (only["rule"], only["expected"], only["found"]) == ("order-end", "end", "rfm")


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["package", "diff", "operational-a", str(GOLDEN / "operational-a.der")]) == 0
    assert capsys.readouterr().out == "no differences\n"
    assert invoke(["package", "diff", "operational-a", "operational-b"]) == 1
    shown = capsys.readouterr().out
    assert "001010000000101" in shown
    assert "(secret)" in shown
    assert "A0A1A2A3" not in shown
    assert invoke(["package", "diff", "operational-a", "operational-b", "--json", "--secrets"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["same"] is False
    assert {"where": "header", "what": "profileType", "change": "changed"}.items() <= document["changes"][0].items()
    assert any(change["a"] == "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF" for change in document["changes"])
    assert invoke(["package", "diff", "operational-a", "nobody"]) == 2
