"""What the screen's tests share: an app on a rack, with a desk that is imitated, or the real one."""

import asyncio
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esim_bench.desk.api import Desk
from esim_bench.rack.model import Rack, load_rack
from esim_bench.tui.app import BenchApp
from esim_bench.tui.context import Context
from esim_bench.tui.state import TuiState

SIZES = ((80, 24), (120, 40), (200, 60))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    values = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**values))
    return True


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Return each of the sizes that the screen must work at."""
    return request.param


@pytest.fixture(scope="session")
def make_fake_desk() -> Callable[[Rack], Desk]:
    """Return what makes a desk without devices for a rack; see fakes.py."""
    spec = importlib.util.spec_from_file_location("tui_fakes", Path(__file__).with_name("fakes.py"))
    if spec is None or spec.loader is None:
        raise ImportError("fakes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.FakeDesk


@pytest.fixture
def bench_app(make_fake_desk: Callable[[Rack], Desk]) -> Iterator[Callable[..., BenchApp]]:
    """Return what makes an app: ``bench_app(rack="sim-3", make_desk=None)``."""
    from esim_bench.desk.watch import Watch

    apps: list[BenchApp] = []

    def make(rack: str = "sim-3", make_desk: Callable[[Rack], Desk] | None = None) -> BenchApp:
        app = BenchApp(Context.of(load_rack(rack), TuiState(), make_desk or make_fake_desk, Watch))
        app.trap = False
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.context.watch.close()
