"""How long to wait for a start: a limit since its last progress, because a slow or busy machine is no failure."""

MAX = 600.0  # seconds, regardless of progress, because the process may loop
STEP = 0.05  # seconds of processor time that count as progress


class Patience:
    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._began = self._progress_at = now
        self._work = 0.0
        self._sign: object = None

    def is_over(self, now: float, work: float, sign: object = None) -> bool:
        """Whether the wait is over.

        `work` is the processor time (s) used so far; a change of `sign` counts as progress.

        A process that crashes and restarts repeatedly never exceeds the work of its longest run, so
        it makes no progress.
        """
        if work >= self._work + STEP or sign != self._sign:
            self._progress_at = now
            self._work = max(work, self._work)
            self._sign = sign
        return now > self._progress_at + self._seconds or now > self._began + MAX
