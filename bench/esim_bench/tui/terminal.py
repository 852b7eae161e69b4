"""The terminal, which may go away: its window is closed, its line drops, tmux is ended."""

from __future__ import annotations

import select
from typing import Any

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """A driver that never waits for a terminal that is gone, and has the app leave then."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gone = False

    def look(self) -> None:
        """See whether the terminal is still there."""
        if not self.gone and self.input_tty:
            look = select.poll()
            look.register(self.fileno, select.POLLHUP)
            if any(mask & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, mask in look.poll(0)):
                self._lost()

    def write(self, data: str) -> None:
        """Write, unless nobody is there to see it: who writes to a terminal that has gone waits for ever."""
        thread = self._writer_thread
        if thread is None or self.gone:
            return
        if not thread.is_alive():
            self._lost()  # it ended with an error
            return
        super().write(data)

    def close(self) -> None:
        """Have written what is to be written."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            super().close()

    def _lost(self) -> None:
        if not self.gone:
            self.gone = True
            self._app.call_later(self._app.run_action, "leave(False)")

    def _sigcont_application(self, *args: Any) -> None:
        # The kernel sends SIGCONT after SIGHUP too: then nothing was stopped that could go on.
        if self._must_signal_resume and not self.gone:
            super()._sigcont_application(*args)

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except OSError:
            self._lost()
