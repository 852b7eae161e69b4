"""Switching profiles: what counts is the state that the card shows afterwards, not what was answered on the way."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.agents.switch import LOOK_SECONDS, disable_profile, switch_profile
from esim_bench.codec.es10 import ProfileInfo, iccid_to_text
from esim_bench.errors import AgentError, BenchError, CardStatusError, ConfigError, TransportError

HOME = bytes.fromhex("98001032547698103214")
TARGET = bytes.fromhex("98001032547698103224")

Answer = tuple[bool, BenchError | None]
"""Whether the order takes effect, and what comes of it."""


def busy() -> AgentError:
    return AgentError("refused", code="catBusy")


class World:
    """An LPA and its card in one: two profiles, of which one is enabled; EF.ICCID follows at the reset."""

    def __init__(self, *answers: Answer, stale_reads: int = 0, refusals: int = 0) -> None:
        self.card = self
        self.answers = list(answers)
        self.active: bytes | None = HOME
        self.shown: bytes | None = HOME
        self.stale_reads = stale_reads
        self.refusals = refusals
        self.log: list[str] = []

    def _order(self, active: bytes | None) -> None:
        takes_effect, error = self.answers.pop(0)
        if takes_effect:
            self.active = active
        if error is not None:
            raise error

    async def enable(self, profile: bytes, *, refresh: bool) -> None:
        self.log.append(f"enable {'with' if refresh else 'without'} refresh")
        self._order(profile)

    async def disable(self, profile: bytes, *, refresh: bool) -> None:
        self.log.append("disable")
        self._order(None)

    async def recover(self) -> None:
        self.log.append("recover")

    async def profiles(self) -> list[ProfileInfo]:
        self.log.append("look")
        if self.refusals:
            self.refusals -= 1
            raise CardStatusError("STORE DATA", sw=0x6985)
        return [ProfileInfo(iccid=iccid, state=int(iccid == self.active)) for iccid in (HOME, TARGET)]

    async def read_iccid(self) -> str | None:
        if self.stale_reads:
            self.stale_reads -= 1
        else:
            self.shown = self.active
        return iccid_to_text(self.shown) if self.shown else None


def run(world: World, flow: Callable[..., Awaitable[None]] = switch_profile, *, refresh: bool = True) -> float:
    """Run a flow; return the seconds that it took."""

    async def job() -> float:
        begin = clock.wall_ns()
        lpa: Any = world
        await flow(lpa, TARGET if flow is switch_profile else HOME, refresh=refresh, recover=world.recover)
        return (clock.wall_ns() - begin) / 1e9

    return clock.run_virtual(job())


@pytest.mark.parametrize("refresh", [True, False])
def test_enable_reset_look(refresh: bool) -> None:
    world = World((True, None))
    run(world, refresh=refresh)
    assert world.log == [f"enable {'with' if refresh else 'without'} refresh", "recover", "look"]


@pytest.mark.parametrize("error", [CardStatusError("STORE DATA", sw=0x6985), TransportError("late"), busy()])
def test_an_error_on_an_order_that_took_effect_is_no_error(error: BenchError) -> None:
    world = World((True, error))
    run(world)
    assert world.active == TARGET
    assert world.log.count("enable with refresh") == 1


def test_an_order_without_effect_is_repeated_after_a_reset() -> None:
    world = World((False, busy()), (False, CardStatusError("STORE DATA", sw=0x6985)), (True, None))
    run(world)
    assert world.active == TARGET
    assert world.log == ["enable with refresh", "recover", "look"] * 3


def test_a_card_that_stays_busy_is_given_up() -> None:
    with pytest.raises(AgentError) as caught:
        run(World(*[(False, busy())] * 3))
    assert caught.value.code == "catBusy"


@pytest.mark.parametrize("code", ["disallowedByPolicy", "iccidOrAidNotFound", "wrongProfileReenabling"])
def test_a_refusal_is_final(code: str) -> None:
    world = World((False, AgentError("refused", code=code)))
    with pytest.raises(AgentError):
        run(world)
    assert world.log == ["enable with refresh"]


def test_a_profile_that_is_enabled_already_is_what_was_wanted() -> None:
    world = World((False, AgentError("refused", code="profileNotInDisabledState")))
    world.active = TARGET
    run(world)
    assert world.log == ["enable with refresh", "look"]


def test_a_wrong_state_that_is_not_the_wanted_one_is_an_error() -> None:
    with pytest.raises(AgentError) as caught:
        run(World((False, AgentError("refused", code="profileNotInDisabledState"))))
    assert caught.value.code == "profileNotInDisabledState"


def test_ok_without_a_change_is_an_error() -> None:
    with pytest.raises(AgentError) as caught:
        run(World((False, None)))
    assert caught.value.code == "stateNotChanged"


def test_a_card_that_refuses_right_after_its_reset_is_asked_again() -> None:
    assert run(World((True, None), refusals=3)) == pytest.approx(3 * LOOK_SECONDS)


def test_a_card_that_refuses_for_good_is_an_error() -> None:
    with pytest.raises(CardStatusError, match="6985"):
        run(World((True, None), refusals=99))


def test_readers_show_the_old_iccid_for_a_while() -> None:
    assert run(World((True, None), stale_reads=2)) == pytest.approx(2 * LOOK_SECONDS)


def test_an_iccid_that_never_changes_is_an_error() -> None:
    with pytest.raises(AgentError, match=r"EF\.ICCID 89000123456789012341") as caught:
        run(World((True, None), stale_reads=99))
    assert caught.value.code == "iccidNotChanged"


def test_disabling_leaves_no_profile_enabled() -> None:
    world = World((True, None))
    run(world, disable_profile)
    assert world.active is None
    assert world.log == ["disable", "recover", "look"]


def test_the_operators_mistakes_are_not_retried() -> None:
    with pytest.raises(ConfigError):
        run(World((False, ConfigError("no"))))
