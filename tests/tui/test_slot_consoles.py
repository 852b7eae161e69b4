"""The consoles to modem and card, the eUICC's information, and the files: what is typed, and what is understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from esim_bench.desk.api import Trouble
from esim_bench.tui.app import BenchApp
from esim_bench.tui.slot.apdu import HISTORY as APDU_HISTORY
from esim_bench.tui.slot.apdu import ApduPane
from esim_bench.tui.slot.apdu import is_secret as is_secret_apdu
from esim_bench.tui.slot.bytesview import BytesView
from esim_bench.tui.slot.console import CommandLine, History, LineBox
from esim_bench.tui.slot.euicc import EuiccPane
from esim_bench.tui.slot.files import FilesPane
from esim_bench.tui.slot.modem import HISTORY as AT_HISTORY
from esim_bench.tui.slot.modem import ModemPane, is_secret
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.slot.power import PowerMenu
from esim_bench.tui.slot.screen import SlotScreen
from esim_bench.tui.state import TuiState

Make = Callable[..., BenchApp]


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


async def send(pilot: Pilot[Any], pane: Any, line: str) -> None:
    pane.query_one(CommandLine).value = line
    await pilot.press("enter")
    await until(pilot, lambda: not pane.working)


def answers(pane: Any) -> str:
    return "\n".join(str(one.visual) for one in pane.query(".answer").results(Static))


# --------------------------------------------------------------------------------------------------------------- modem


async def test_at_lines_and_what_their_answers_mean(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ModemPane = await tab(app, pilot, 6)
        state = str(pane.query_one("#state", Static).visual)
        assert "Quectel EG25" in state
        assert "registration home" in state
        assert "-84 dBm" in state
        await send(pilot, pane, "AT+CSQ")
        assert "+CSQ: 20,99" in answers(pane)
        assert "✓ OK" in answers(pane)
        assert "→ RSSI -73 dBm" in answers(pane)
        await send(pilot, pane, "AT+XYZ")
        assert "✗ ERROR" in answers(pane)
        assert pane.query_one(LineBox).region.bottom == 24 - 1


async def test_an_at_line_that_failed_says_what_to_do(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ModemPane = await tab(app, pilot, 6)
        desk.fail("at", Trouble(kind="DeviceTimeout", what="no answer", where="B1", hint="cycle its power"))
        await send(pilot, pane, "AT")
        assert "B1: no answer" in answers(pane)
        assert "→ cycle its power" in answers(pane)


async def test_the_history_is_there_at_the_next_start_but_for_pins(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ModemPane = await tab(app, pilot, 6)
        for line in ("AT+CSQ", 'AT+CPIN="1234"', "ATI"):
            await send(pilot, pane, line)
        box = pane.query_one(CommandLine)
        await pilot.press("up", "up")
        assert box.value == 'AT+CPIN="1234"'
        await pilot.press("down", "down")
        assert box.value == ""
    app.context.state.save()
    assert TuiState().get(AT_HISTORY, []) == ["AT+CSQ", "ATI"]
    again = bench_app("sim-iot-3")
    async with again.run_test(size=(80, 24)) as pilot:
        pane = await tab(again, pilot, 6)
        await pilot.press("up")
        assert pane.query_one(CommandLine).value == "ATI"


async def test_escape_leaves_the_line_and_keys_are_keys_again(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ModemPane = await tab(app, pilot, 6)
        await pilot.press("7")
        assert pane.query_one(CommandLine).value == "7"
        await pilot.press("escape", "7")
        screen: Any = app.screen
        assert screen.number == 7
        await pilot.press("ctrl+pageup")
        assert screen.number == 6
        # The power is at hand from within the line, too.
        pane.query_one(CommandLine).focus()
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))


async def test_a_slot_without_modem_says_so(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ModemPane = await tab(app, pilot, 6, "A1")
        assert "This slot has no modem" in str(pane.query_one(".empty", Static).visual)
        await pilot.press("r")
        await pilot.pause()
        assert not desk.called("modem")


def test_a_history_keeps_what_was_being_typed() -> None:
    history = History(TuiState(), "test", is_secret)
    history.add("AT")
    history.add("AT")
    history.add("ATI")
    assert history.lines == ["AT", "ATI"]
    assert [history.step(-1, "AT+C"), history.step(-1, ""), history.step(-1, "")] == ["ATI", "AT", "AT"]
    assert [history.step(1, ""), history.step(1, "")] == ["ATI", "AT+C"]


@pytest.mark.parametrize("line", ['AT+CPIN="1234"', "at+cpin2 = 12345678", 'AT+CLCK="SC",1,"0000"', 'AT+CPWD="SC",1,2'])
def test_lines_with_pins_are_secret(line: str) -> None:
    assert is_secret(line)
    assert not is_secret("AT+CPIN?")


def test_apdus_with_pins_are_secret() -> None:
    assert is_secret_apdu("00 20 00 01 08 31323334FFFFFFFF")
    assert not is_secret_apdu("00A40004023F00")
    assert not is_secret_apdu("GetEID")


# ---------------------------------------------------------------------------------------------------------------- APDU


async def test_apdus_by_name_and_in_hex(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=size) as pilot:
        pane: ApduPane = await tab(app, pilot, 7)
        await send(pilot, pane, "SELECT ADF.USIM")
        about = str(pane.query_one("#about", Static).visual)
        assert "✓ SW 9000" in about
        assert "SELECT ADF.USIM" in about
        tree = pane.query_one(NodeTree)
        assert tree.branches.root.children[0].data.name == "62 FCP template"  # type: ignore[union-attr]
        assert pane.query_one(BytesView).display
        await send(pilot, pane, "00A4000C026FFF")
        about = str(pane.query_one("#about", Static).visual)
        assert "✗ SW 6A82" in about
        assert "not found" in about
        assert not pane.query_one(BytesView).display
        # Back to the first one, and into its tree: its bytes are marked.
        await pilot.press("escape", "up")
        assert "SW 9000" in str(pane.query_one("#about", Static).visual)
        tree.focus_tree()
        await pilot.press("down")
        await pilot.pause()
        assert pane.query_one(BytesView)._marked == (0, 2, 6)
        assert app.context.state.get(APDU_HISTORY, []) == ["SELECT ADF.USIM", "00A4000C026FFF"]


async def test_names_of_commands_are_suggested(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ApduPane = await tab(app, pilot, 7)
        await pilot.press(*"geteu")
        box = pane.query_one("#suggestions", OptionList)
        await until(pilot, lambda: box.option_count == 4)
        assert box.region.height == 4
        await pilot.press("tab")
        assert pane.query_one(CommandLine).value == "GetEuiccInfo1"
        line = pane.query_one(CommandLine)
        line.value = "read r"
        await until(pilot, lambda: box.option_count == 1)
        await pilot.click(box, offset=(3, 0))
        assert line.value == "READ RECORD "
        assert app.focused is line
        # Its arguments stay in sight while they are typed.
        await pilot.press("1")
        await until(pilot, lambda: box.option_count == 1)
        assert "[length]" in str(box.get_option_at_index(0).prompt)


async def test_what_is_no_command_says_what_is_expected(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: ApduPane = await tab(app, pilot, 7)
        await send(pilot, pane, "hello")
        assert "not a command: expected hexadecimal digits" in pane.note.text
        await pilot.press("up")
        assert pane.query_one(CommandLine).value == "hello"


# --------------------------------------------------------------------------------------------------------------- eUICC


async def test_what_the_euicc_says_is_a_tree_that_can_be_searched(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: EuiccPane = await tab(app, pilot, 3)
        tree = pane.query_one(NodeTree)
        assert [node.data.name for node in tree.branches.root.children][:2] == ["EID", "EUICCInfo2"]  # type: ignore[union-attr]
        await pilot.press("slash")
        await pilot.press(*"smds", "enter")
        await until(pilot, lambda: "testrootsmds.example.com" in str(tree.query_one("#whole", Static).visual))
        assert "root smds" in str(tree.query_one("#whole", Static).visual)
        await pilot.press("slash", "escape")
        assert not tree.query_one("#search", Input).has_class("-shown")
        assert isinstance(app.screen, SlotScreen)
        await pilot.press("home")
        assert "EID" in str(tree.query_one("#whole", Static).visual)


# --------------------------------------------------------------------------------------------------------------- files


async def read(pilot: Pilot[Any], pane: Any, path: str) -> None:
    """Go to a file of the tree, and press Enter."""
    tree = pane.known
    node = next(one for one in _all(tree.root) if one.data is not None and one.data.path == path)
    tree.move_cursor(node)
    tree.focus()
    await pilot.press("enter")
    await until(pilot, lambda: pane.file is not None and pane.file.path == path and not pane.working)


def _all(node: Any) -> Any:
    for child in node.children:
        yield child
        yield from _all(child)


async def test_a_file_is_read_decoded_and_in_hex(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=size) as pilot:
        pane: FilesPane = await tab(app, pilot, 8)
        await read(pilot, pane, "ADF.USIM/6F07")
        assert "EF.IMSI" in str(pane.query_one("#what", Static).visual)
        assert "transparent, 9 bytes" in str(pane.query_one("#what", Static).visual)
        groups = pane.query_one(NodeTree).branches.root.children
        assert [group.data.name for group in groups] == ["contents", "FCP"]  # type: ignore[union-attr]
        imsi = groups[0].children[0]
        assert imsi.data is not None
        assert imsi.data.value == "001010000000001"
        pane.query_one(NodeTree).focus_tree()
        await pilot.press("home", "down")
        await pilot.pause()
        assert pane.query_one(BytesView)._marked == (0, 0, 9)
        # Something of all three is seen at every size.
        assert pane.query_one(NodeTree).size.height >= 4
        assert pane.query_one(BytesView).size.height >= 1


async def test_records_are_marked_each_in_its_place(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(120, 40)) as pilot:
        pane: FilesPane = await tab(app, pilot, 8)
        await read(pilot, pane, "3F00/2F06")
        assert "14 records of 44 bytes" in str(pane.query_one("#what", Static).visual)
        pane.query_one(NodeTree).focus_tree()
        await pilot.press("home", "down", "down", "down")
        await pilot.pause()
        assert pane.query_one(BytesView)._marked == (1, 0, 44)


async def test_a_refused_file_says_why(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        pane: FilesPane = await tab(app, pilot, 8)
        await read(pilot, pane, "ADF.USIM/6FC5")
        assert "Not there: 6A82 file or application not found" in str(pane.query_one("#what", Static).visual)
        assert not pane.query_one(BytesView).display
        assert pane.known.seen == {"ADF.USIM/6FC5": "✗"}


async def test_a_file_by_mouse(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        pane: FilesPane = await tab(app, pilot, 8)
        await pilot.click(pane.known, offset=(6, 1))
        await until(pilot, lambda: desk.called("file"))
        assert desk.called("file") == [("B1", "3F00/2F00")]
