"""Runs a table of processes and ends them all together.

A process that ends is restarted with a message, after a longer pause for each quick failure. All
processes end on SIGINT, SIGTERM and SIGHUP, and when the supervisor itself dies (processes.py).
"""

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

from foundation.backoff import doubled
from runtime.processes import Process

CHECK_INTERVAL_S = 0.2  # seconds
STEADY_AFTER_S = 60.0  # seconds; a process that ran this long starts again with the shortest pause
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0  # seconds


class Supervisor:
    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print = print_line
        self._processes: list[Process] = []
        self._started_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}  # since the process last ran steadily
        self._restart_at: dict[str, float] = {}
        # A plain flag, because threading.Event.set() takes a lock that the interrupted main thread
        # may hold.
        self.is_stopping = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def adopt(self, process: Process) -> None:
        """Supervises a process that runs already."""
        self._processes.append(process)
        self._started_at[process.name] = time.monotonic()

    def start(self, processes: Sequence[Process]) -> None:
        for process in processes:
            process.start()
            self.adopt(process)

    def run(self) -> None:
        """Runs the processes until a signal requests the end."""
        while not self.is_stopping:
            self.check()
            time.sleep(CHECK_INTERVAL_S)

    def check(self) -> None:
        """Checks every process once: reports those that ended, and restarts those that are due."""
        now = time.monotonic()
        for process in self._processes:
            due = self._restart_at.get(process.name)
            if due is None and not process.is_running:
                self._plan_restart(process, now)
            elif due is not None and now >= due:
                del self._restart_at[process.name]
                process.start()
                self._started_at[process.name] = now

    def _plan_restart(self, process: Process, now: float) -> None:
        process.clear_up()
        was_steady = now - self._started_at[process.name] > STEADY_AFTER_S
        failures = 1 if was_steady else self._failures.get(process.name, 0) + 1
        self._failures[process.name] = failures
        pause = doubled(failures, first_s=FIRST_PAUSE_S, max_s=MAX_PAUSE_S)
        self._restart_at[process.name] = now + pause
        self._print(f"{process.name} ended unexpectedly ({_how(process)}); it starts again in {pause:g} s.")

    def stop(self) -> None:
        """Ends all processes, in reverse order of their start."""
        for process in reversed(self._processes):
            process.stop()


def _how(process: Process) -> str:
    code = process.popen.returncode if process.popen else None
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
