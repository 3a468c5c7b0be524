"""How long a start is waited for: so long after its last progress, because a slow or busy machine is no failure."""

MOST = 600.0  # seconds, whatever progress there seems to be: something may run in circles
STEP = 0.05  # seconds of processor time that count as progress


class Patience:
    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._began = self._progress_at = now
        self._work = 0.0
        self._sign: object = None

    def is_over(self, now: float, work: float, sign: object = None) -> bool:
        """`work` is the processor time that the process has used; `sign` is anything that changes when it gets on.

        A process that crashes and starts again and again never gets further than once, and so makes no progress.
        """
        if work >= self._work + STEP or sign != self._sign:
            self._progress_at = now
            self._work = max(work, self._work)
            self._sign = sign
        return now > self._progress_at + self._seconds or now > self._began + MOST
