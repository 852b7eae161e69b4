"""The ISD-P registry: factory profiles, and that no order of functions makes it inconsistent."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from esim_bench.codec.tlv import encode, parse
from esim_bench.errors import ConfigError
from esim_bench.ports import PreloadedProfile
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD
from esim_drivers.sim.registry import Registry, isdp_aid, preload


def test_isdp_aids_have_their_number_in_bytes_14_and_15():
    assert isdp_aid(0x0010).hex().upper() == "A0000005591010FFFFFFFF8900001000"
    assert isdp_aid(0xABCD).hex().upper() == "A0000005591010FFFFFFFF8900ABCD00"


def test_factory_profiles_are_there_from_the_first_power_on(kit):
    nvm = Nvm()
    profiles = [PreloadedProfile(kit.metadata(n), kit.package(n), enabled=n == 2) for n in (1, 2)]
    preload(nvm, profiles, STANDARD, kit.Installer)
    card = kit.card(nvm=nvm)
    assert [(card.state(kit.iccid(n)), n) for n in (1, 2)] == [(0, 1), (1, 2)]
    assert nvm.get("euicc/enabled") == isdp_aid(0x0011)
    assert card.notifications() == []
    assert Registry(nvm).violations() == []
    # Field-loaded test profiles are others; operational ones go whoever loaded them.
    assert card.result("BF340482020640") == 1
    assert card.result("BF340482020780") == 0


def test_a_factory_profile_that_cannot_be_installed_is_the_operators_mistake(kit):
    bad = [
        PreloadedProfile(b"\x00", kit.package(1), enabled=False),
        PreloadedProfile(kit.metadata(1), b"\xa0\x05", enabled=False),
        PreloadedProfile(kit.metadata(1), kit.package(1, extra=bytes.fromhex("A9020308")), enabled=False),
    ]
    for profile in bad:
        nvm = Nvm()
        with pytest.raises(ConfigError, match="factory profile 1"):
            preload(nvm, [profile], STANDARD, kit.Installer)
        assert nvm.contents() == {}
    twice = [PreloadedProfile(kit.metadata(1), kit.package(1), enabled=False)] * 2
    with pytest.raises(ConfigError, match="one ICCID"):
        preload(Nvm(), twice, STANDARD, kit.Installer)


NUMBERS = st.integers(1, 3)


def machine_for(kit):
    class EuiccMachine(RuleBasedStateMachine):
        """Any order of ES10 functions, interrupted loads, resets and losses of power."""

        @initialize()
        def start(self):
            self.card = kit.card()
            self.lpa = kit.lpa(self.card)
            self.segments = []
            self.sequence = 0

        @rule(number=NUMBERS, done=st.integers(0, 8))
        def load(self, number, done):
            self.segments = self.lpa.bpp(kit.package(number, elements=2, size=300), kit.metadata(number))
            for segment in self.segments[:done]:
                self.card.chain(segment)
            self.segments = self.segments[done:]

        @rule()
        def go_on_loading(self):
            for segment in self.segments[:2]:
                self.card.chain(segment)
            self.segments = self.segments[2:]

        @rule(tag=st.sampled_from([0xBF31, 0xBF32]), number=NUMBERS, refresh=st.booleans(), busy=st.booleans())
        def switch(self, tag, number, refresh, busy):
            self.card.uicc.cat_busy = busy
            flag = encode(0x81, b"\xff" if refresh else b"\x00")
            self.card.es10(encode(tag, encode(0xA0, encode(0x5A, kit.iccid(number))), flag))

        @rule(number=NUMBERS)
        def delete(self, number):
            self.card.es10(encode(0xBF33, encode(0x5A, kit.iccid(number))))

        @rule(number=NUMBERS, name=st.text(max_size=5))
        def nickname(self, number, name):
            self.card.es10(encode(0xBF29, encode(0x5A, kit.iccid(number)), encode(0x90, name.encode())))

        @rule(number=st.integers(0, 30))
        def remove_notification(self, number):
            self.card.es10(encode(0xBF30, encode(0x80, bytes((number,)))))

        @rule(options=st.sampled_from(["0780", "0640", "05E0"]))
        def memory_reset(self, options):
            self.card.es10(bytes.fromhex("BF34048202" + options))

        @rule(how=st.sampled_from(["reset", "power_cycle"]))
        def restart(self, how):
            getattr(self.card, how)()

        @invariant()
        def registry_is_consistent(self):
            if hasattr(self, "card"):
                assert self.card.isdr.registry.violations() == []

        @invariant()
        def numbers_only_grow(self):
            if hasattr(self, "card"):
                value = int.from_bytes(self.card.nvm.get("euicc/sequence") or b"", "big")
                assert value >= self.sequence
                self.sequence = value
                stored = [int(key.split("/")[1]) for key in self.card.nvm.keys("notification/")]
                assert all(number < value for number in stored)

        @invariant()
        def files_belong_to_a_profile_that_is_listed(self):
            if hasattr(self, "card"):
                listed = [parse(one.raw).get(0x4F).value.hex().upper() for one in self.card.profiles()]
                assert {key.split("/")[1] for key in self.card.nvm.keys("isdp/")} == set(listed)

    return EuiccMachine


def test_no_order_of_functions_breaks_the_registry(kit):
    run_state_machine_as_test(
        machine_for(kit),
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
