"""One AT port over a scripted link: answers, unsolicited lines, late answers, losses; all in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench import clock
from esim_bench.errors import CodecError, DeviceTimeout, TransportError
from esim_bench.events import AtEvent, ListSink
from esim_drivers.at import AtPort


class ScriptedLink:
    """A modem that echoes as told and answers from a table: line -> [(seconds, bytes), ...]."""

    def __init__(self, answers: dict[str, list[tuple[float, bytes]]] | None = None, *, echoes: bool = True) -> None:
        self.answers = answers or {}
        self.echo = echoes
        self.echoes = echoes
        self.written: list[str] = []
        self.closed = False
        self.deaf = False
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_lost: Callable[[Exception | None], None] = lambda reason: None

    def set_receiver(self, on_data: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        self.on_data, self.on_lost = on_data, on_lost

    def write(self, data: bytes) -> None:
        line = data.decode().removesuffix("\r")
        self.written.append(line)
        if self.deaf:
            return
        if self.echo:
            self.say(0.0, data)
        if line.startswith("ATE"):
            self.echo = line.endswith("1") and self.echoes
        for seconds, answer in self.answers.get(line, [(0.01, b"\r\nOK\r\n")]):
            self.say(seconds, answer)

    def say(self, seconds: float, data: bytes) -> None:
        asyncio.get_running_loop().call_later(seconds, lambda: self.on_data(data))

    def close(self) -> None:
        self.closed = True


Body = Callable[[AtPort, ScriptedLink], Coroutine[Any, Any, None]]


def run(body: Body, answers: dict[str, list[tuple[float, bytes]]] | None = None, **how: bool) -> list[AtEvent]:
    sink = ListSink()

    async def main() -> None:
        link = ScriptedLink(answers, **how)
        port = AtPort(link, sink, urcs=["+QIND:"])
        await body(port, link)

    clock.run_virtual(main())
    return [event for event in sink.events if isinstance(event, AtEvent)]


def test_a_fresh_port_comes_into_step_and_switches_the_echo_off() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        answer = await port.command("AT+CIMI")
        assert (answer.lines, answer.final, answer.ok) == (("001010000000001",), "OK", True)
        assert link.written == ["ATE1", "ATE0", "AT+CIMI"]
        await port.command("AT+CIMI")
        assert link.written[3:] == ["AT+CIMI"]

    events = run(body, {"AT+CIMI": [(0.1, b"\r\n001010000000001\r\n\r\nOK\r\n")]})
    assert [(event.direction, event.line) for event in events if event.direction == ">"][-1] == (">", "AT+CIMI")


def test_an_error_is_a_result() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        assert (await port.command("AT+CIMI")).final == "+CME ERROR: 10"
        assert not (await port.command("AT+X")).ok

    run(body, {"AT+CIMI": [(0.1, b"\r\n+CME ERROR: 10\r\n")], "AT+X": [(0.1, b"\r\nERROR\r\n")]})


@given(st.data())
def test_any_chunks_with_unsolicited_lines_between_give_the_answer(data: st.DataObject) -> None:
    parts = [b'\r\n+CSIM: 4,"9000"\r\n', b"\r\nOK\r\n"]
    for _ in range(data.draw(st.integers(0, 3))):
        parts.insert(data.draw(st.integers(0, 1)), b"\r\n+QIND: SMS DONE\r\n")
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def body(port: AtPort, link: ScriptedLink) -> None:
        answer = await port.command('AT+CSIM=10,"0070000001"')
        assert answer.lines == ('+CSIM: 4,"9000"',)

    run(body, {'AT+CSIM=10,"0070000001"': [(0.01 * n, chunk) for n, chunk in enumerate(chunks)]})


def test_lines_that_come_unasked_are_told_apart_and_heard() -> None:
    heard: list[str] = []

    async def body(port: AtPort, link: ScriptedLink) -> None:
        port.listen(heard.append)
        await port.command("AT")
        link.say(1.0, b"\r\n+QIND: PB DONE\r\n")
        await asyncio.sleep(2)

    events = run(body)
    assert heard == ["+QIND: PB DONE"]
    assert [event.line for event in events if event.direction == "!"] == ["+QIND: PB DONE"]


def test_one_command_at_a_time() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        first, second = await asyncio.gather(port.command("AT+A"), port.command("AT+B"))
        assert (first.lines, second.lines) == (("a",), ("b",))

    run(body, {"AT+A": [(5, b"a\r\nOK\r\n")], "AT+B": [(0.1, b"b\r\nOK\r\n")]})


def test_a_late_answer_is_not_taken_for_the_next_commands() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        with pytest.raises(DeviceTimeout, match="within 2 s") as caught:
            await port.command("AT+SLOW", timeout=2)
        assert "read the state" in str(caught.value)
        # The late answer comes glued to whatever comes next.
        assert (await port.command("AT+FAST")).lines == ("fast",)
        assert (await port.command("AT+FAST")).lines == ("fast",)

    for late in (2.1, 2.005, 2.35, 2.6):
        run(body, {"AT+SLOW": [(late, b"slow\r\nOK\r\n")], "AT+FAST": [(0.01, b"fast\r\nOK\r\n")]})


def test_a_late_answer_does_not_fool_a_port_whose_modem_never_echoes() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        with pytest.raises(DeviceTimeout):
            await port.command("AT+SLOW", timeout=2)
        assert (await port.command("AT+FAST")).lines == ("fast",)

    run(body, {"AT+SLOW": [(2.1, b"slow\r\nOK\r\n")], "AT+FAST": [(0.01, b"fast\r\nOK\r\n")]}, echoes=False)


def test_a_command_that_was_cancelled_leaves_the_port_usable() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        task = asyncio.create_task(port.command("AT+SLOW"))
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await port.command("AT+FAST")).lines == ("fast",)

    run(body, {"AT+SLOW": [(3.4, b"slow\r\nOK\r\n")], "AT+FAST": [(0.01, b"fast\r\nOK\r\n")]})


def test_a_modem_that_boots_is_waited_for() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        link.deaf = True
        asyncio.get_running_loop().call_later(7.3, setattr, link, "deaf", False)
        await port.synchronise(30)
        assert 7.3 < clock.now() < 9

    run(body)


def test_a_silent_modem_is_a_timeout_with_advice() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        link.deaf = True
        with pytest.raises(DeviceTimeout, match=r"does not answer.*is it on"):
            await port.synchronise(5)

    run(body)


def test_a_lost_link_ends_the_command_under_way_at_once() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        await port.command("AT")
        asyncio.get_running_loop().call_later(1.0, link.on_lost, OSError("Input/output error"))
        began = clock.now()
        with pytest.raises(TransportError, match="Input/output error"):
            await port.command("AT+SLOW")
        assert clock.now() - began == 1.0
        assert not port.usable
        with pytest.raises(TransportError):
            await port.command("AT")

    run(body, {"AT+SLOW": []})


def test_closing_ends_what_is_under_way() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        await port.command("AT")
        asyncio.get_running_loop().call_later(1.0, port.close)
        with pytest.raises(TransportError, match="closed"):
            await port.command("AT+SLOW")
        assert link.closed

    run(body, {"AT+SLOW": []})


@pytest.mark.parametrize("line", ["", "AT\rATD1;", "AT+X=\x1a", "ATé"])
def test_a_line_that_is_not_one_line_of_ascii_is_refused(line: str) -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        with pytest.raises(CodecError, match="one line of printable ASCII"):
            await port.command(line)
        assert link.written == []

    run(body)


# ----------------------------------------------------------------------------------------- prompts and late lines


class PromptingLink(ScriptedLink):
    """A modem that takes data after AT+CMGS, until Ctrl-Z or ESC."""

    asking = False

    def write(self, data: bytes) -> None:
        if not self.asking:
            self.asking = data.startswith(b"AT+CMGS")
            super().write(data)
            return
        self.written.append(data.decode())
        if data.endswith(b"\x1a"):
            self.say(0.0, b"\r\n> " * data.count(b"\r"))
            self.say(0.2, b"\r\n+CMGS: 7\r\n\r\nOK\r\n")
        elif data.endswith(b"\x1b"):
            self.say(0.1, b"\r\nOK\r\n")
        else:
            return
        self.asking = False


def run_prompting(body: Body, answers: dict[str, list[tuple[float, bytes]]]) -> ListSink:
    sink = ListSink()

    async def main() -> None:
        link = PromptingLink(answers)
        await body(AtPort(link, sink, urcs=["+QIND:"]), link)

    clock.run_virtual(main())
    return sink


@pytest.mark.parametrize("prompt", [b"\r\n> ", b"\r\n>", b"\r\n+QIND: SMS DONE\r\n\r\n> "])
def test_data_is_given_to_a_prompt(prompt: bytes) -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        answer = await port.command('AT+CMGS="112"', text="two\rlines")
        assert (answer.lines, answer.final) == (("+CMGS: 7",), "OK")
        assert link.written[-1] == "two\rlines\x1a"
        assert (await port.command("AT")).ok

    sink = run_prompting(body, {'AT+CMGS="112"': [(0.1, prompt)]})
    assert [e.line for e in sink.events if isinstance(e, AtEvent) and e.line == "two\rlines"] == ["two\rlines"]


def test_a_prompt_that_nobody_expected_is_left_by_esc() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        assert (await port.command('AT+CMGS="112"')).final == "OK"
        assert link.written[-1] == "\x1b"
        assert (await port.command("AT")).ok

    run_prompting(body, {'AT+CMGS="112"': [(0.1, b"\r\n> ")]})


def test_a_prompt_that_comes_late_is_left_before_the_next_command() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        with pytest.raises(DeviceTimeout):
            await port.command('AT+CMGS="112"', timeout=1, text="late")
        await asyncio.sleep(2)
        assert (await port.command("AT+FAST")).lines == ("fast",)

    run_prompting(body, {'AT+CMGS="112"': [(2.0, b"\r\n> ")], "AT+FAST": [(0.01, b"fast\r\nOK\r\n")]})


def test_a_refused_command_with_data_is_no_prompt() -> None:
    async def body(port: AtPort, link: ScriptedLink) -> None:
        assert (await port.command("AT+CMGW", text="text")).final == "+CMS ERROR: 310"
        with pytest.raises(CodecError, match="data for a prompt"):
            await port.command("AT+CMGW", text="te\x1axt")

    run(body, {"AT+CMGW": [(0.1, b"\r\n+CMS ERROR: 310\r\n")]})


def test_a_state_that_is_read_and_told_at_once_is_heard_too() -> None:
    heard: list[str] = []

    async def body(port: AtPort, link: ScriptedLink) -> None:
        port.listen(heard.append)
        assert (await port.command("AT+CPIN?")).lines == ("+CPIN: NOT READY", "+CPIN: READY")
        await port.command("AT+CFUN?")

    answers = {
        "AT+CPIN?": [(0.1, b"\r\n+CPIN: NOT READY\r\n\r\n+CPIN: READY\r\n\r\nOK\r\n")],
        "AT+CFUN?": [(0.1, b"\r\n+CFUN: 1\r\n\r\nOK\r\n")],
    }
    run(body, answers)
    assert heard == ["+CPIN: NOT READY", "+CPIN: READY"]


def test_nameless_lines_in_the_answer_to_an_apdu_are_heard() -> None:
    heard: list[str] = []

    async def body(port: AtPort, link: ScriptedLink) -> None:
        port.listen(heard.append)
        answer = await port.command('AT+CCHO="A000000559"')
        assert answer.lines == ("1",)

    run(body, {'AT+CCHO="A000000559"': [(0.1, b"\r\nNORMAL POWER DOWN\r\n\r\nsomething odd\r\n\r\n1\r\n\r\nOK\r\n")]})
    assert heard == ["NORMAL POWER DOWN", "something odd"]


def test_each_form_of_echo() -> None:
    for echo in (b"AT+CIMI\r", b"AT+CIMI\r\n", b"AT+CIMI\r\r\n"):

        async def body(port: AtPort, link: ScriptedLink) -> None:
            assert (await port.command("AT+CIMI")).lines == ("001010000000001",)

        run(body, {"AT+CIMI": [(0.0, echo), (0.1, b"\r\n001010000000001\r\n\r\nOK\r\n")]})


class SerialModem(ScriptedLink):
    """A modem that does one thing after the other, as real ones do; an answer may also be held back until the next."""

    free = 0.0
    held = b""

    def write(self, data: bytes) -> None:
        line = data.decode().removesuffix("\r")
        self.written.append(line)
        now = asyncio.get_running_loop().time()
        echo = data if self.echo else b""
        if line.startswith("ATE"):
            self.echo = line.endswith("1") and self.echoes
        seconds, answer = self.answers.get(line, [(0.01, b"\r\nOK\r\n")])[0]
        self.free = max(self.free, now) + seconds
        if line.endswith("=held"):
            self.held = echo + answer
            return
        held, self.held = self.held, b""
        self.say(self.free - now, held + echo + answer)


@given(
    st.lists(st.sampled_from(["slow", "held", "fast"]), min_size=1, max_size=6),
    st.floats(0.5, 9.0),
    st.booleans(),
)
def test_no_answer_is_ever_taken_for_another_commands(kinds: list[str], seconds: float, echoes: bool) -> None:
    answers = {}
    for number, kind in enumerate(kinds):
        delay = seconds if kind == "slow" else 0.01
        answers[f"AT+X{number}={kind}"] = [(delay, f"\r\n+X{number}: {number}\r\n\r\nOK\r\n".encode())]
        answers[f"ATI{number}"] = [(0.01, f"\r\nnumber {number}\r\n\r\nOK\r\n".encode())]

    async def main() -> None:
        port = AtPort(SerialModem(answers, echoes=echoes), ListSink())
        for number, kind in enumerate(kinds):
            try:
                answer = await port.command(f"AT+X{number}={kind}", timeout=2.0)
            except DeviceTimeout:
                assert kind != "fast"
            else:
                assert answer.lines == (f"+X{number}: {number}",)
            # Nameless answers are the ones that could be mistaken.
            try:
                assert (await port.command(f"ATI{number}", timeout=5.0)).lines == (f"number {number}",)
            except DeviceTimeout:
                assert seconds > 3

    clock.run_virtual(main())
