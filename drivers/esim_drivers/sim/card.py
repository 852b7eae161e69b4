"""A simulated eUICC: a UICC card with ISD-R and ECASD in it, and the profiles that it was born with."""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.ports import FormFactor, PreloadedProfile
from esim_drivers.sim.ecasd import Ecasd
from esim_drivers.sim.iot.standards import CONSUMER_ONLY, Standards
from esim_drivers.sim.isdr import Isdr
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.registry import preload as install_factory_profiles
from esim_drivers.sim.uicc_card import UiccCard


class SimCard(UiccCard):
    """One eUICC. Sans-IO: ``power_on``, ``reset``, ``power_off``, ``transmit(command) -> (response, seconds)``.

    ``nvm`` is the memory of a card that has lived before (``Nvm.restore``): then it is not given the factory's profiles
    again. The journal of a new card begins empty: what the factory wrote is not in it. Raises ConfigError when a
    factory profile cannot be installed.
    """

    def __init__(
        self,
        identity: EuiccIdentity,
        personality: Personality,
        randomness: Randomness,
        preload: Sequence[PreloadedProfile] = (),
        form_factor: FormFactor = FormFactor.FF4,
        nvm: Nvm | None = None,
        standards: Standards = CONSUMER_ONLY,
    ) -> None:
        if nvm is None:
            factory = Nvm()
            install_factory_profiles(factory, preload, personality)
            nvm = Nvm.restore(factory.snapshot())
        super().__init__(personality, nvm)
        self.identity = identity
        self.form_factor = form_factor
        self.uicc.identity.randomness = randomness.fork("suci")
        self.isdr = Isdr(self, identity, personality, randomness, form_factor, standards)
        self.add_applications([self.isdr, Ecasd(identity)])

    def power_on(self) -> bytes:
        """Reset it cold; return the ATR."""
        atr = super().power_on()
        self.isdr.odd.power_up()
        return atr
