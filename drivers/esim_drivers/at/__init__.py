"""AT modems over a byte link."""

from esim_drivers.at.card import AtCard
from esim_drivers.at.modem import AtModem
from esim_drivers.at.port import AtPort

__all__ = ["AtCard", "AtModem", "AtPort"]
