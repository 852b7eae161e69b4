"""The main job on the simulated rack, as the command line runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke
from esim_bench.codec.saip import ProfilePackage
from esim_bench.trace import Reader

Run = Callable[..., Any]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line with --json; return (exit code, document)."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = invoke([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def outcomes(document: Any) -> dict[str, str]:
    return {slot["slot"]: slot["outcome"] for slot in document["slots"]}


def detail(slot: Any, step: str) -> str:
    return next(s["detail"] for s in slot["steps"] if s["name"] == step)


@pytest.mark.parametrize("scenario", ["provision", "switch", "power_cycle"])
def test_each_scenario_passes_on_all_three_form_factors(bench: Run, scenario: str) -> None:
    code, document = bench("run", scenario)
    assert code == 0
    assert document["outcome"] == "PASS"
    assert outcomes(document) == {"A1": "PASS", "B1": "PASS", "C1": "PASS"}
    assert [slot["form_factor"] for slot in document["slots"]] == ["4FF", "MFF2", "iSIM"]


@pytest.mark.parametrize("version", ["v1", "v5"])
def test_a_gsma_test_profile_installs_on_all_three(bench: Run, ts48: Callable[[str], Path], version: str) -> None:
    path = ts48(version)
    package = ProfilePackage.parse(path.read_bytes())
    code, document = bench("run", "provision", "-p", f"package={path}")
    assert (code, document["outcome"]) == (0, "PASS")
    for slot in document["slots"]:
        assert detail(slot, "verify") == f"EF.ICCID {package.iccid_text}, EF.IMSI {package.imsi}"
    # Read by hand, from the card as the run left it: EF.ICCID as the file has it, nibbles swapped.
    code, answers = bench("apdu", "A1", "00A40004022FE2", "00B000000A")
    assert answers[-1]["data"] == "98001032547698103214"


@pytest.mark.parametrize("scenario", ["switch", "power_cycle"])
def test_a_gsma_test_profile_switches_and_survives_power_cuts(
    bench: Run, ts48: Callable[[str], Path], scenario: str
) -> None:
    code, document = bench("run", scenario, "-p", f"package={ts48('v5')}")
    assert (code, document["outcome"]) == (0, "PASS")


def traces(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.pcapng"))}


def test_one_seed_one_trace(tmp_path: Path) -> None:
    def run(
        name: str, *more: str, hash_seed: str = "0", zone: str = "UTC", folder: Path = tmp_path
    ) -> dict[str, bytes]:
        place = tmp_path / name
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "TZ": zone,
            "ESIM_BENCH_HOME": str(tmp_path / f"home-{name}"),
        }
        command = [
            sys.executable,
            "-c",
            "from esim_bench.cli.main import main; main()",
            "run",
            "provision",
            "--seed",
            "7",
        ]
        subprocess.run(
            [*command, "--trace-dir", str(place), *more],
            env=environment,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        return traces(place)

    first = run("first")
    assert sorted(first) == ["A1.pcapng", "B1.pcapng", "C1.pcapng"]
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert run("second", hash_seed="4711", zone="Asia/Tokyo", folder=other) == first
    for slot in ("A1", "B1", "C1"):
        assert run(f"alone-{slot}", "--slot", slot) == {f"{slot}.pcapng": first[f"{slot}.pcapng"]}


def test_another_seed_gives_another_trace(bench: Run, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        bench("run", "provision", "--slot", "A1", "--seed", seed, "--trace-dir", str(tmp_path / seed))
    assert traces(tmp_path / "1") != traces(tmp_path / "2")


def test_the_trace_holds_as_many_apdus_as_the_run_says(bench: Run) -> None:
    _, document = bench("run", "switch")
    for slot in document["slots"]:
        records = Reader(slot["trace"])
        assert sum(1 for record in records if type(record.event).__name__ == "ApduEvent") == slot["apdus"] > 100


def test_commands_by_hand_go_on_from_where_the_run_left_the_card(bench: Run) -> None:
    _, document = bench("run", "provision", "--slot", "A1")
    iccid = detail(document["slots"][0], "enable").split()[0]
    _, profiles = bench("euicc", "profiles", "A1")
    assert {p["iccid"]: p["state"] for p in profiles}[iccid] == "enabled"
    code, _ = bench("euicc", "disable", "A1", iccid)
    assert code == 0
    code, _ = bench("euicc", "delete", "A1", iccid)
    assert code == 0
    _, profiles = bench("euicc", "profiles", "A1")
    assert iccid not in [p["iccid"] for p in profiles]
    _, waiting = bench("euicc", "notifications", "A1", "--deliver")
    assert [n["operation"] for n in waiting] == ["disable", "delete"]
    _, waiting = bench("euicc", "notifications", "A1")
    assert waiting == []


def test_download_by_hand(bench: Run) -> None:
    code, document = bench("euicc", "download", "C1", "--profile", "operational-b")
    assert code == 0
    assert len(document["installed"]) == 1
    _, info = bench("euicc", "info", "C1")
    assert info["form_factor"] == "iSIM"
    assert info["contradictions"] == []


@pytest.mark.parametrize(
    ("declared", "personality", "word"), [("iSIM", "4ff", "removable"), ("4FF", "isim", "integrated")]
)
def test_a_wrong_form_factor_is_reported(
    bench: Run, tmp_path: Path, declared: str, personality: str, word: str
) -> None:
    rack = tmp_path / "wrong.toml"
    rack.write_text(
        f'[rack]\nname = "wrong"\n[[slot]]\nname = "X1"\nform_factor = "{declared}"\n'
        f'sim = {{ personality = "{personality}" }}\n'
    )
    code, document = bench("run", "provision", "--rack", str(rack))
    assert code == 1
    failed = next(step for step in document["slots"][0]["steps"] if step["outcome"] == "FAIL")
    assert failed["name"] == "form factor"
    assert word in failed["detail"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "provison"), "expected one of provision, switch, power_cycle"),
        (("run", "provision", "--slot", "Z*"), "no slot of this name"),
        (("run", "provision", "-p", "packge=x"), "has no such parameter"),
        (("run", "provision", "-p", "package=/nonexistent"), "cannot read the profile package"),
        (("run", "provision", "--rack", "/nonexistent.toml"), "cannot read the rack file"),
        (("run", "provision", "-p", "profile=nobody"), "operational-a"),
        (("run", "power_cycle", "-p", "off_s=-1"), "off_s"),
        (("run", "power_cycle", "--cut", "never"), "mid-download"),
        (("euicc", "enable", "A1", "123"), "no profile of this ICCID"),
        (("apdu", "A1", "00A4zz"), "hexadecimal"),
        (("apdu", "A1", "00A400"), "command APDU"),
        (("trace", "show", "/nonexistent.pcapng"), "nonexistent.pcapng"),
    ],
)
def test_the_operators_mistakes_have_exit_code_2_and_one_clear_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_damaged_package_changes_nothing(bench: Run, tmp_path: Path, ts48: Callable[[str], Path]) -> None:
    damaged = tmp_path / "damaged.der"
    damaged.write_bytes(ts48("v5").read_bytes()[:5000])
    code, document = bench("run", "provision", "-p", f"package={damaged}")
    assert code == 2
    assert "damaged.der" in document["error"]["message"]
