"""The tabs that change an eUICC: profiles and downloads, notifications, eIMs and their orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Checkbox, DataTable, Input, OptionList, Static

from esim_bench.desk.api import Source, Trouble
from esim_bench.rack.model import Rack, load_rack
from esim_bench.tui.app import BenchApp
from esim_bench.tui.dialogs import Confirm, Prompt
from esim_bench.tui.slot.choose import Choose
from esim_bench.tui.slot.download import DownloadDialog, meant
from esim_bench.tui.slot.eim import EimPane
from esim_bench.tui.slot.notifications import NotificationsPane
from esim_bench.tui.slot.profiles import ProfilesPane
from esim_bench.tui.slot.screen import SlotScreen

Make = Callable[..., BenchApp]
BOOTSTRAP, OPERATIONAL = "8988211000000000023", "8988211000000000021"


async def until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    for _ in range(200):
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come about")


async def tab(app: BenchApp, pilot: Pilot[Any], number: int, slot: str = "B1") -> Any:
    """Open a slot at a tab, and return the tab when it was read."""
    app.open_slot(slot)
    await until(pilot, lambda: isinstance(app.screen, SlotScreen) and app.screen.pane is not None)
    screen: Any = app.screen
    await until(pilot, lambda: not screen.pane.working)
    await pilot.press(str(number))
    await until(pilot, lambda: screen.number == number and screen.pane.is_mounted)
    await until(pilot, lambda: not screen.pane.working)
    return screen.pane


def rows(pane: Any) -> list[list[str]]:
    table: DataTable[Any] = pane.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


async def test_profiles_are_listed_with_states_and_details(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=size) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        assert rows(pane) == [
            ["● enabled", BOOTSTRAP, "Bootstrap Global", "001-01", "operational"],
            ["○ disabled", OPERATIONAL, "Operational A", "001-01", "operational"],
        ]
        assert pane.table.max_scroll_x == 0
        await pilot.press("down")
        assert OPERATIONAL in str(pane.query_one("#details", Static).visual)


async def test_enable_and_disable(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        await pilot.press("e")
        assert pane.note.text == "Bootstrap Global is enabled already."
        await pilot.press("down", "e")
        await until(pilot, lambda: rows(pane)[1][0] == "● enabled")
        assert rows(pane)[0][0] == "○ disabled"
        assert pane.table.cursor_row == 1
        screen: Any = app.screen
        assert "Operational A" in str(screen.header.visual)
        await pilot.press("d")
        await until(pilot, lambda: rows(pane)[1][0] == "○ disabled")
        assert desk.called("enable") == [("B1", OPERATIONAL)]
        assert desk.called("disable") == [("B1", OPERATIONAL)]


async def test_one_thing_at_a_time(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        desk.hold("enable")
        await pilot.press("down", "e")
        await until(pilot, lambda: pane.working)
        await pilot.press("e", "d")
        assert len(desk.called("enable")) == 1
        assert not desk.called("disable")
        desk.fail(
            "enable", Trouble(kind="AgentError", what="the eUICC refused", where="B1", hint="list, then try again")
        )
        desk.go("enable")
        await until(pilot, lambda: not pane.working)
        assert pane.note.text == "B1: the eUICC refused → list, then try again"
        assert rows(pane)[1][0] == "○ disabled"


async def test_an_euicc_that_only_an_eim_may_switch_says_where(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        desk.fail("enable", Trouble(kind="CardStatusError", what="STORE DATA BF31", expected="9000", found="6A88"))
        await pilot.press("down", "e")
        await until(pilot, lambda: not pane.working)
        assert "takes that from its eIM: 5, then e" in pane.note.text


async def test_deleting_is_typed(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        await pilot.press("D")
        assert "deletes disabled profiles only" in pane.note.text
        await pilot.press("down", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        assert isinstance(app.screen, Confirm)
        app.screen.query_one(Input).value = OPERATIONAL[-4:]
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(pane)) == 1)
        assert desk.called("delete") == [("B1", OPERATIONAL, False)]


async def test_a_protected_slot_wants_its_name(bench_app: Make, tmp_path: Any) -> None:
    text = load_rack("sim-iot-3").path.read_text().replace('name = "B1"', 'name = "B1"\nprotect = true')
    path = tmp_path / "rack.toml"
    path.write_text(text)
    app = bench_app(str(path))
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        await pilot.press("down", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        line = app.screen.query_one(Input)
        line.value = OPERATIONAL[-4:]
        await pilot.press("enter")
        assert isinstance(app.screen, Confirm)
        line.value = "B1"
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(pane)) == 1)
        assert desk.called("delete") == [("B1", OPERATIONAL, True)]


async def test_nickname(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Prompt))
        await pilot.press(*"lab", "enter")
        await until(pilot, lambda: rows(pane)[0][2] == "lab")


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("operational-a", Source(profile="operational-a")),
        ("LPA:1$smdp.example.com$ABC-1", Source(activation_code="LPA:1$smdp.example.com$ABC-1")),
        ("1$smdp.example.com$ABC-1", Source(activation_code="1$smdp.example.com$ABC-1")),
        ("@code.png", Source(activation_code="@code.png")),
        ("/tmp/profile.der", Source(package="/tmp/profile.der")),
        ("LPA:1$smdp", None),
        ("oper", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_what_a_line_means(line: str, source: Source | None) -> None:
    found = meant(line, ("operational-a", "operational-b"))
    assert found.source == source
    assert found.text


def test_a_matching_id_is_not_repeated_on_the_screen() -> None:
    assert "SECRET" not in meant("LPA:1$smdp.example.com$SECRET", ()).text
    assert meant("LPA:1$smdp.example.com$SECRET$$1", ()).code


async def test_download_by_the_name_of_a_profile(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=size) as pilot:
        pane: ProfilesPane = await tab(app, pilot, 2)
        screen: Any = app.screen
        await pilot.press("l")
        await until(
            pilot,
            lambda: isinstance(app.screen, DownloadDialog) and app.screen.query_one(OptionList).option_count,
        )
        dialog = app.screen
        assert dialog.query_one("#ok").disabled
        assert dialog.query_one("#ok").region.bottom < size[1]
        names = dialog.query_one(OptionList)
        await pilot.click(names, offset=(3, 4))
        assert dialog.query_one("#what", Input).value == "operational-b"
        await pilot.click("#enable")
        assert dialog.query_one("#enable", Checkbox).value
        desk.hold("download")
        await pilot.click("#ok")
        # Its phase and how far it is stand above all tabs.
        await until(pilot, lambda: "the profile goes into the eUICC" in str(screen.header.visual))
        desk.go("download")
        await until(pilot, lambda: len(rows(pane)) == 3 and not pane.working)
        assert rows(pane)[2][0] == "● enabled"
        assert desk.called("download") == [("B1", Source(profile="operational-b"), None, True, None)]


async def test_a_download_whose_power_is_cut_after_a_segment(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        await tab(app, pilot, 2)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        app.screen.query_one("#what", Input).value = "profile.der"
        await pilot.click("#segment")
        await pilot.press("home", "delete", "5", "enter")
        await until(pilot, lambda: desk.called("download"))
        assert desk.called("download") == [("B1", Source(package="profile.der"), None, False, 5)]


async def test_download_by_an_activation_code_that_asks_for_a_confirmation_code(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        await tab(app, pilot, 2)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        code = "LPA:1$smdp.example.com$ABC$$1"
        app.screen.query_one("#what", Input).value = code
        await pilot.press("enter")
        assert app.focused is app.screen.query_one("#code")
        await pilot.press(*"1234", "enter")
        await until(pilot, lambda: desk.called("download"))
        assert desk.called("download") == [("B1", Source(activation_code=code), "1234", False, None)]


async def test_a_progress_bar_while_downloading(bench_app: Make) -> None:
    import dataclasses

    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        await tab(app, pilot, 2)
        screen: Any = app.screen
        app.context.watch.close()
        board = app.context.watch.board
        board.put([dataclasses.replace(board.slot("B1"), activity="by hand", doing="installing", progress=(25, 100))])
        screen.on_bench(frozenset(("B1",)))
        assert "▶ installing  25/100 ██░░░░░░  for 0 s" in str(screen.header.visual)


async def test_notifications_are_sent_and_removed(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: NotificationsPane = await tab(app, pilot, 4)
        assert rows(pane)[0] == ["4", "install", OPERATIONAL, "smdp.example.com"]
        await pilot.press("s")
        await until(pilot, lambda: len(rows(pane)) == 1)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: not rows(pane))
        assert desk.called("send_notification") == [("B1", 4)]
        assert desk.called("remove_notification") == [("B1", 5)]
        assert "No notification waits" in str(pane.query_one(".empty", Static).visual)


async def test_what_was_done_elsewhere_is_read_again(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        await tab(app, pilot, 4)
        await pilot.press("2")
        screen: Any = app.screen
        await until(pilot, lambda: isinstance(screen.pane, ProfilesPane) and not screen.pane.working)
        await pilot.press("down", "e")
        await until(pilot, lambda: desk.called("enable") and not screen.pane.working)
        await pilot.press("4")
        await until(pilot, lambda: len(desk.called("notifications")) == 2)


async def test_eims_and_orders(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: EimPane = await tab(app, pilot, 5)
        assert [row[1:] for row in rows(pane)] == [["listProfileInfo", "done", "ok"], ["data", "done", "ok"]]
        await pilot.press("l")
        await until(pilot, lambda: len(rows(pane)) == 3)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(pane)) == 4)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        app.screen.query_one(Input).value = OPERATIONAL[-4:]
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(pane)) == 5)
        assert desk.called("order") == [
            ("B1", "list-profiles", None),
            ("B1", "enable", OPERATIONAL),
            ("B1", "delete", OPERATIONAL),
        ]


async def test_a_slot_without_ipa_says_so(bench_app: Make) -> None:
    app = bench_app("sim-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: EimPane = await tab(app, pilot, 5)
        text = str(pane.query_one(".empty", Static).visual)
        assert "No eIMs" in text
        assert "the slot has no IPA" in text
        assert not desk.called("orders")
        await pilot.press("e")
        assert not desk.called("order")


def test_the_imitation_is_of_a_rack(make_fake_desk: Callable[[Rack], Any]) -> None:
    assert [*make_fake_desk(load_rack("sim-3")).slots] == [slot.name for slot in load_rack("sim-3").slots]
