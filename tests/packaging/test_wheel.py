"""A wheel, an editable install and the checkout all find profiles/ and hw/."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout, with the build backend of the environment (no network)."""
    pytest.importorskip("hatchling", reason="hatchling is in the development environment: run make test")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "esim_bench/_data/hw/racks/sim-3.toml" in names
    assert "esim_bench/_data/profiles/bootstrap-global.toml" in names
    assert any(name.startswith("esim_bench/codec/asn1/") and name.endswith(".asn") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_wheel_runs_the_main_job(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    # -S and an explicit path: the editable install of the checkout must not help.
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if not p.startswith({str(ROOT)!r}) or p == {libraries!r}]; "
        f"sys.path.insert(0, {str(place)!r}); "
        "import esim_bench; from esim_bench.cli.main import main; "
        f"assert esim_bench.__file__.startswith({str(place)!r}), esim_bench.__file__; "
        "sys.argv = ['esim-bench', 'run', 'provision', '--slot', 'A1', '--json']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ESIM_BENCH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"outcome": "PASS"' in done.stdout
