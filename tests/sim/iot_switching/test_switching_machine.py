"""Any order of switches: a model of a few lines says what comes of each, and the invariants hold after all of them."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from esim_bench.codec import es10_iot
from esim_bench.codec.euicc_operations import Delete, Disable, Enable, SetFallbackAttribute, UnsetFallbackAttribute

NUMBERS = st.sampled_from([1, 2, 3, 4, 5])
ALLOWED, EMERGENCY, MISSING = (1, 2), 3, 5
REFRESH = st.booleans()


def machine(kit):
    class Switches(RuleBasedStateMachine):
        """Profiles 1 and 2 may be the Fallback Profile, 3 is for emergencies, 5 is not there."""

        @initialize()
        def begin(self):
            allowed = {"fallback_allowed": True}
            self.card, self.eim = kit.with_eim((1, allowed), (2, allowed), (3, {"ecall": True}), (4, {}))
            self.there = {1, 2, 3, 4}
            self.enabled = 1
            self.holder = self.before_fallback = self.before_call = self.rollback = None

        # -------------------------------------------------------------------------------------------- the model

        def is_calling(self):
            return self.enabled == EMERGENCY

        def forget_way_back(self):
            self.before_fallback = self.rollback = None

        def send(self, make, refresh, expected):
            assert self.card.code(make(refresh)) == expected
            if refresh:
                self.card.reset()

        def load(self, operation, code):
            """A package of one operation: it cancels the rollback, and is refused in an emergency."""
            if self.is_calling():
                assert self.eim.load(operation) == 104
                return False
            self.rollback = None
            assert self.eim.load(operation) == [code]
            self.card.reset()
            return code == 0

        # -------------------------------------------------------------------------------------------- packages

        @rule(number=NUMBERS, rollback=st.booleans())
        def enable(self, number, rollback):
            if number not in self.there:
                code = 1
            elif number == self.enabled:
                code = 2
            elif rollback and self.enabled is None:
                code = 20
            else:
                code = 3 if number == EMERGENCY else 0
            before = self.enabled
            if self.load(Enable(kit.iccid(number), rollback), code):
                self.forget_way_back()
                self.enabled, self.rollback = number, before if rollback else None

        @rule(number=NUMBERS)
        def disable(self, number):
            code = 1 if number not in self.there else 0 if number == self.enabled else 2
            if self.load(Disable(kit.iccid(number)), code):
                self.forget_way_back()
                self.enabled = None

        @precondition(lambda self: len(self.there) > 2)
        @rule(number=NUMBERS)
        def delete(self, number):
            if number not in self.there:
                code = 1
            elif number == self.enabled:
                code = 2
            else:
                code = 21 if number == self.before_fallback else 0
            if self.load(Delete(kit.iccid(number)), code):
                self.there.remove(number)
                if self.holder == number:
                    self.holder = None

        @rule(number=NUMBERS)
        def set_fallback(self, number):
            if number not in self.there:
                code = 1
            elif number not in ALLOWED:
                code = 2
            else:
                code = 3 if self.holder not in (None, number) and self.holder == self.enabled else 0
            if self.load(SetFallbackAttribute(kit.iccid(number)), code):
                self.holder = number

        @rule()
        def unset_fallback(self):
            code = 2 if self.holder is None else 3 if self.holder == self.enabled else 0
            if self.load(UnsetFallbackAttribute(), code):
                self.holder = None

        # -------------------------------------------------------------------------------------------- ES10b

        @rule(refresh=REFRESH)
        def roll_back(self, refresh):
            code = 1 if self.rollback is None else 7 if self.is_calling() else 0
            self.send(es10_iot.profile_rollback, refresh, code)
            if code == 0:
                self.enabled, self.rollback = self.rollback, None

        @rule(refresh=REFRESH)
        def fall_back(self, refresh):
            if self.enabled is None or self.holder is None:
                code = 7 if self.enabled is None else 6
            else:
                code = 104 if self.is_calling() else 2 if self.enabled == self.holder else 0
            self.send(es10_iot.execute_fallback_mechanism, refresh, code)
            if code == 0:
                self.before_fallback, self.enabled, self.rollback = self.enabled, self.holder, None

        @rule(refresh=REFRESH)
        def return_from_fallback(self, refresh):
            code = 6 if self.before_fallback is None else 7 if self.is_calling() else 0
            self.send(es10_iot.return_from_fallback, refresh, code)
            if code == 0:
                self.enabled, self.before_fallback, self.rollback = self.before_fallback, None, None

        @rule(refresh=REFRESH)
        def call(self, refresh):
            code = 8 if EMERGENCY not in self.there else 2 if self.is_calling() else 0
            self.send(es10_iot.enable_emergency_profile, refresh, code)
            if code == 0:
                self.before_call, self.enabled = self.enabled, EMERGENCY
                self.rollback = None if refresh else self.rollback

        @rule(refresh=REFRESH)
        def hang_up(self, refresh):
            code = 0 if self.is_calling() else 2
            self.send(es10_iot.disable_emergency_profile, refresh, code)
            if code == 0:
                self.enabled, self.before_call = self.before_call, None
                self.rollback = None if refresh else self.rollback

        @rule()
        def cycle_power(self):
            self.card.reset()

        # -------------------------------------------------------------------------------------------- invariants

        @invariant()
        def the_model_is_right(self):
            assert self.card.enabled == self.enabled
            expected = {kit.iccid(number): int(number == self.enabled) for number in self.there}
            assert self.card.profiles() == expected
            assert self.card.violations() == []
            self.card.forget_events()

    return Switches


@pytest.mark.parametrize("steps", [25])
def test_any_order_of_switches(kit, steps):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    how = settings(max_examples=40, stateful_step_count=steps, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine(kit), settings=how)
