"""eIM (SGP.32): ESipa in both bindings, signed eUICC Packages, data requests, download triggers, notifications.

Shapes: an EID is 16 bytes, an ICCID 10 bytes as in tag 5A, an associationToken an int or None, times are ns since 1970.
"""

from esim_bench.servers.eim.core import Eim
from esim_bench.servers.eim.credentials import EimCredentials
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.orders import DataOrder, DownloadOrder, Order, PackageOrder
from esim_bench.servers.eim.sqlite import SqliteEimStore
from esim_bench.servers.eim.store import Device, EimOrder, EimStore, NotificationRecord, OrderState, Purpose
from esim_bench.servers.eim.view import EimView, ProfileView, View

__all__ = [
    "DataOrder",
    "Device",
    "DownloadOrder",
    "Eim",
    "EimCredentials",
    "EimOrder",
    "EimStore",
    "EimView",
    "Limits",
    "NotificationRecord",
    "Order",
    "OrderState",
    "PackageOrder",
    "ProfileView",
    "Purpose",
    "SqliteEimStore",
    "View",
]
