"""What all tests share: a home of their own, the GSMA test profiles, system tools that must be there in CI."""

import atexit
import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TS48_NAMES = ("TS48v1_A.der", "TS48v5_SAIP2.3_NoBERTLV.der")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests away from this machine's PC/SC service; its library reads the place once in a process.

    Compiled modules are kept, whatever the environment says: hundreds of processes are started, and each would compile
    the bench anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    gc.disable()  # until everything is collected: nothing of it can go
    if not config.getoption("rack", default=None):
        folder = tempfile.mkdtemp(prefix="pcscd-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["PCSCLITE_CSOCK_NAME"] = f"{folder}/pcscd.comm"


def pytest_collection_finish() -> None:
    """Let the garbage collector come seldom, and pass over all tests and modules: it took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    # Numbered here: mktemp looks at all there are each time.
    folder, numbers = tmp_path_factory.mktemp("homes"), itertools.count()
    return lambda: folder / str(next(numbers))


@pytest.fixture(autouse=True)
def _own_home(_homes: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    place = _homes()
    for name in ("home", "locks"):
        (place / name).mkdir(parents=True)
        monkeypatch.setenv(f"ESIM_BENCH_{name.upper()}", str(place / name))
    monkeypatch.delenv("ESIM_BENCH_RACK", raising=False)
    # Servers of the tests are on loopback: a proxy of this machine has nothing to do with them.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def ts48() -> Callable[[str], Path]:
    """Return a GSMA TS.48 test profile by name ("v1" or "v5"); skip where the files are not."""
    folder = Path(os.environ.get("ESIM_BENCH_TS48") or ROOT.parent / "shared" / "data")

    def find(version: str) -> Path:
        path = folder / TS48_NAMES[0 if version == "v1" else 1]
        if not path.exists():
            pytest.skip(f"{path.name} is not in {folder}: set ESIM_BENCH_TS48 to the folder of the GSMA TS.48 profiles")
        return path

    return find


@pytest.fixture(scope="session")
def need_tool() -> Callable[[str], str]:
    """Return the path of a system tool; where it is missing skip, or fail with CI=true."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            message = f"{name} is not installed: make test installs it when it may use apt"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find
