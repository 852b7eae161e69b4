"""All ES10b functions of an IoT eUICC, for the ISD-R's tables (SGP.32 5.9)."""

from __future__ import annotations

from esim_bench.codec.sgp32 import Version
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.iot.eims import Eims
from esim_drivers.sim.iot.package_functions import Function, PackageFunctions
from esim_drivers.sim.iot.switching import Switching
from esim_drivers.sim.iot.switching_functions import SwitchingFunctions
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.profile_manager import ProfileManager
from esim_drivers.sim.rsp_session import RspSession


class IotFunctions:
    """The IoT side of the ISD-R; its tables go before those of the consumer side."""

    def __init__(
        self, euicc: Euicc, notifications: Notifications, manager: ProfileManager, session: RspSession
    ) -> None:
        standards = euicc.standards
        self.eims = Eims(euicc)
        self.switching = Switching(euicc, notifications, manager, session)
        self._packages = PackageFunctions(
            euicc,
            notifications,
            manager,
            self.switching,
            self.eims,
            standards.iot or Version.V1_2,
            consumer=standards.consumer,
        )
        self.packages = self._packages.packages
        self.results = self._packages.results
        switching = SwitchingFunctions(self.switching, self.eims, self.packages)
        self.reading: dict[int, Function] = {**switching.reading, **self._packages.reading}
        self.writing: dict[int, Function] = {**switching.writing, **self._packages.writing}
        self.undefined_errors: dict[int, bytes] = {**switching.undefined_errors, **self._packages.undefined_errors}
        """Answers of functions that can't make sense of their request, or whose effect the memory did not take."""

    def reset(self) -> None:
        """Forget what lives in RAM, and end a package that this reset interrupted."""
        self._packages.reset()

    def violations(self) -> list[str]:
        """Return what is inconsistent after a reset, as sentences; [] is what has to come out after any power cut."""
        return [*self.switching.violations(), *self._packages.violations()]
