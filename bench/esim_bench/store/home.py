"""Where the bench keeps its runs: ``$ESIM_BENCH_HOME``, else the platform's folder for user data."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_dir

HOME_VARIABLE = "ESIM_BENCH_HOME"
RUN_FILE = "run.json"
"""The document of a run, in the run's folder."""


def home() -> Path:
    """Return the bench's home folder; it need not exist yet."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path(user_data_dir("esim-bench", appauthor=False))


def runs_dir() -> Path:
    """Return the folder of the run directories."""
    return home() / "runs"


def store_path() -> Path:
    """Return the file of the run history."""
    return home() / "history.sqlite"
