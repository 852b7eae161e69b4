"""SM-DP+ (SGP.22): the five ES9+ functions, orders, profile binding, notifications. See docs/smdp.md."""

from esim_bench.servers.smdp.credentials import CiCredentials, ServerKey, SmdpCredentials
from esim_bench.servers.smdp.limits import Limits
from esim_bench.servers.smdp.server import Smdp
from esim_bench.servers.smdp.sqlite import SqliteStore
from esim_bench.servers.smdp.status import StatusCode, StatusError
from esim_bench.servers.smdp.store import Download, NotificationRecord, Order, OrderState, SmdpStore

__all__ = [
    "CiCredentials",
    "Download",
    "Limits",
    "NotificationRecord",
    "Order",
    "OrderState",
    "ServerKey",
    "Smdp",
    "SmdpCredentials",
    "SmdpStore",
    "SqliteStore",
    "StatusCode",
    "StatusError",
]
