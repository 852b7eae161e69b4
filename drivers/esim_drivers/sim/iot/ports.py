"""What eUICC Packages need of the part of the eUICC that switches profiles."""

from __future__ import annotations

from typing import Protocol

from esim_bench.codec.euicc_operations import ConfigureImmediateEnable


class PackageSwitching(Protocol):
    """Profile state management for packages. Codes are the standard's, each change is one NVM transaction.

    Changes join the transaction of the package; MemoryFailure goes through to it.
    """

    @property
    def ecall_active(self) -> bool:
        """Tell whether the Emergency Profile is enabled: no package is executed then."""

    def begin_package(self) -> None:
        """Hear that the operations of one package follow."""

    def package_accepted(self) -> None:
        """Cancel the authorisation of a rollback; joins the caller's transaction."""

    def show(self, refresh: bool) -> None:
        """Make a switch seen, if there was one, by REFRESH or at once."""

    def psmo_enable(self, iccid: bytes, rollback: bool) -> int:
        """Enable a profile; with ``rollback`` the one before may come back."""

    def psmo_disable(self, iccid: bytes) -> int:
        """Disable a profile."""

    def psmo_delete(self, iccid: bytes) -> int:
        """Delete a profile."""

    def set_fallback(self, iccid: bytes) -> int:
        """Make a profile the Fallback Profile."""

    def unset_fallback(self) -> int:
        """Leave no profile the Fallback Profile."""

    def configure_immediate(self, configuration: ConfigureImmediateEnable) -> int:
        """Say from which SM-DP+ a profile may be enabled at once."""
