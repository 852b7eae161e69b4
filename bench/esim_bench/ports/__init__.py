"""What a driver must be: protocols and capability flags. The core knows drivers by these alone."""

from esim_bench.ports.bearer import Bearer, HttpResponse
from esim_bench.ports.card import CardCapabilities, CardLink, CardPresence, Exchange, FormFactor, StopRule
from esim_bench.ports.discovery import DiscoveringDriver, FoundDevice, PortProbingDriver
from esim_bench.ports.drivers import (
    DRIVER_GROUP,
    CardDriver,
    Driver,
    DriverContext,
    ModemDriver,
    ObserverDriver,
    PowerDriver,
    PreloadedProfile,
    ServingDriver,
    SlotDriver,
    SlotHardware,
    load_driver,
)
from esim_bench.ports.modem import (
    AtResponse,
    ByteLink,
    ControlLines,
    LineWatch,
    Measurable,
    ModemLink,
    ModemStatus,
    PowersDown,
)
from esim_bench.ports.observing import LosesDevice, Observer
from esim_bench.ports.power import OrderlySwitch, PowerControl, PowerSwitch, Proof, Supply
from esim_bench.ports.serving import Served, ServedRack, ServeSettings

__all__ = [
    "DRIVER_GROUP",
    "AtResponse",
    "Bearer",
    "ByteLink",
    "CardCapabilities",
    "CardDriver",
    "CardLink",
    "CardPresence",
    "ControlLines",
    "DiscoveringDriver",
    "Driver",
    "DriverContext",
    "Exchange",
    "FormFactor",
    "FoundDevice",
    "HttpResponse",
    "LineWatch",
    "LosesDevice",
    "Measurable",
    "ModemDriver",
    "ModemLink",
    "ModemStatus",
    "Observer",
    "ObserverDriver",
    "OrderlySwitch",
    "PortProbingDriver",
    "PowerControl",
    "PowerDriver",
    "PowerSwitch",
    "PowersDown",
    "PreloadedProfile",
    "Proof",
    "ServeSettings",
    "Served",
    "ServedRack",
    "ServingDriver",
    "SlotDriver",
    "SlotHardware",
    "StopRule",
    "Supply",
    "load_driver",
]
