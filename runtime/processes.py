"""A child process that ends when its parent dies. It has its own session and ends with all its children."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded before any fork, because an import between fork and exec is unsafe.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class SystemAccount:
    """The system user that runs a process."""

    uid: int
    gid: int


@dataclass
class Process:
    """A process to run. `stop_signal` requests a clean end; `grace` is the time limit for it (s)."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    stop_signal: int = signal.SIGTERM
    grace: float = 5.0
    account: SystemAccount | None = None
    log: Path | None = None
    popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        output = self.log.open("ab") if self.log else None
        try:
            self.popen = subprocess.Popen(  # noqa: S603 - our own command lines
                [str(part) for part in self.command],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                # Ctrl-C in the terminal reaches only the supervisor. Killing the session's group
                # ends the children too.
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), self.stop_signal),
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )
        finally:
            if output:
                output.close()

    @property
    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def processor_time(self) -> float:
        """The processor time in seconds of this process and its children (Linux; elsewhere 0)."""
        if self.popen is None:
            return 0.0
        ticks = sum(_ticks(Path(f"/proc/{pid}/stat"), self.popen.pid) for pid in _running_pids())
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stops the process with `stop_signal`, or by force after `grace` seconds. Both end all its children."""
        if self.popen is None:
            return
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop_signal)
            try:
                self.popen.wait(self.grace)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.clear_up()

    def clear_up(self) -> None:
        """Ends the remaining processes in the session of a dead process."""
        if self.popen is None:
            return
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # no process is left; macOS reports it as PermissionError
            return


def _running_pids() -> list[str]:
    return [path.name for path in Path("/proc").glob("[0-9]*")]


def _ticks(stat: Path, session: int) -> int:
    """proc(5): user and system time of a process of this session; 0 for any other, and for one that has just ended."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[3]) == session else 0


def _die_with(parent: int, signal_number: int) -> Callable[[], None]:
    """Runs in the child: the kernel sends the signal when the parent dies, even by SIGKILL (Linux only)."""

    def in_child() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return in_child


def free_port() -> int:
    """A loopback port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ReservedPort:
    """A free loopback port that nobody else gets before `release`: bound, without listening."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> int:
        self._socket.close()
        return self.number


def is_free(address: str, port: int) -> bool:
    """Whether no process listens on this port. Raises OSError if the port cannot be bound for another reason."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def write_private(path: Path, text: str) -> None:
    """Writes a file that only our user can read. The write is atomic."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)
