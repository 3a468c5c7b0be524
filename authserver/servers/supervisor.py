"""Keeps a table of processes running, and ends them all together.

A process that ends by itself is restarted with a message, later each time it fails at once. Everything ends
on SIGINT, SIGTERM and SIGHUP, and with our own death (processes.py).
"""

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

from authserver.servers.processes import Process

LOOK_EVERY = 0.2  # seconds
STEADY_AFTER = 60.0  # seconds: a process that ran this long starts from the shortest pause again
LONGEST_PAUSE = 30.0  # seconds


class Supervisor:
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._processes: list[Process] = []
        self._started_at: dict[str, float] = {}
        self._pause: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}
        # A plain flag: threading.Event.set() takes a lock that the interrupted main thread may hold.
        self.is_stopping = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup asks to stay
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True

    def adopt(self, process: Process) -> None:
        """Takes over a process that runs already."""
        self._processes.append(process)
        self._started_at[process.name] = time.monotonic()

    def start(self, processes: Sequence[Process]) -> None:
        for process in processes:
            process.start()
            self.adopt(process)

    def run(self) -> None:
        """Until a signal says stop."""
        while not self.is_stopping:
            self.look()
            time.sleep(LOOK_EVERY)

    def look(self) -> None:
        """One look at every process: notices what ended, restarts what is due."""
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
        was_steady = now - self._started_at[process.name] > STEADY_AFTER
        pause = 0.5 if was_steady else self._pause.get(process.name, 0.5)
        self._pause[process.name] = min(pause * 2, LONGEST_PAUSE)
        self._restart_at[process.name] = now + pause
        self._say(f"{process.name} ended unexpectedly ({_how(process)}); it starts again in {pause:g} s.")

    def stop(self) -> None:
        """Ends everything, the last started first."""
        for process in reversed(self._processes):
            process.stop()


def _how(process: Process) -> str:
    code = process.popen.returncode if process.popen else None
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
