"""Which process runs on which core, how much of it each used, and what the rest of the machine took meanwhile."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


@dataclass(frozen=True)
class Cores:
    """The core of the server that is measured, and the core of everything else."""

    server: int
    rest: int

    @classmethod
    def find(cls) -> "Cores | None":
        """None on a machine with a single core."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(*usable[:2]) if len(usable) > 1 else None


def pin(processes: Iterable[int], core: int) -> None:
    """With all their threads. Threads and processes that they start later run there too."""
    for pid in processes:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for one in found:
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text()
        except OSError:  # it has ended
            continue
        found += map(int, children.split())
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _seconds(pid: int) -> float:
    """Of all threads, and of the children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICK


def _busy(cores: Cores) -> float:
    """Seconds of both cores, what other machines took included, interrupts not: those are mostly of our own sockets."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in (f"cpu{cores.server}", f"cpu{cores.rest}"):
            user, nice, system, _idle, _wait, _interrupts, _soft, steal, *_ = map(int, ticks)
            busy += user + nice + system + steal
    return busy * TICK


@dataclass(frozen=True)
class Used:
    """CPU seconds of each group between two moments, and the share of both cores that nobody of ours used."""

    seconds: Mapping[str, float]
    foreign: float


class Meter:
    """Reads now; `stop` reads again."""

    def __init__(self, groups: Mapping[str, int], without: Iterable[int] = (), cores: Cores | None = None) -> None:
        """`groups`: the first process of each family. `without`: processes that count for no group."""
        self._groups, self._without, self._cores = groups, set(without), cores
        self._began, self._before, self._machine = time.monotonic(), self._read(), self._read_foreign()

    def _read(self) -> dict[str, float]:
        return {
            name: sum(_seconds(pid) for pid in family(first) if pid not in self._without)
            for name, first in self._groups.items()
        }

    def _read_foreign(self) -> float:
        return _busy(self._cores) - sum(map(_seconds, family(os.getpid()))) if self._cores else 0.0

    def stop(self) -> Used:
        foreign = (self._read_foreign() - self._machine) / (2 * (time.monotonic() - self._began))
        after = self._read()
        return Used({name: after[name] - before for name, before in self._before.items()}, max(foreign, 0.0))
