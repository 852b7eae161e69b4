"""Run history (SQLite)."""

from esim_bench.store.runs import RunStore

__all__ = ["RunStore"]
