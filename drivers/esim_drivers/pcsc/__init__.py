"""Cards in PC/SC readers, through pyscard's low-level functions and the system's PC/SC service."""

from esim_drivers.pcsc.card import PcscCard
from esim_drivers.pcsc.driver import PcscDriver
from esim_drivers.pcsc.options import Options
from esim_drivers.pcsc.watch import ReaderWatch, Sight, State

__all__ = ["Options", "PcscCard", "PcscDriver", "ReaderWatch", "Sight", "State"]
