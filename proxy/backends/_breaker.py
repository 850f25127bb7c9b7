"""A breaker: a server that failed several times on end gets no requests for a while, then one to see."""

from __future__ import annotations

import time
from collections.abc import Callable

FAULTS = 5  # on end, after which it opens
FIRST_PAUSE = 1.0  # seconds; doubled with every request to see that failed too, up to
LONGEST_PAUSE = 30.0


class Breaker:
    """Closed: requests pass. Open: none, until `wait` seconds have gone; then one at a time, until one goes well."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults = 0
        self._pause = 0.0  # 0: closed
        self._until = 0.0
        self._seeing = False  # the one request to see is under way

    @property
    def ready(self) -> bool:
        """Whether a request may begin now."""
        return not self._pause or (not self._seeing and self.wait == 0)

    @property
    def wait(self) -> float:
        """Seconds until a request may begin."""
        return max(0.0, self._until - self._clock()) if self._pause else 0.0

    def begin(self) -> None:
        self._seeing = self._pause > 0

    def begun(self) -> bool:
        """The answer has begun: enough for the one to see. Whether that closed it."""
        return self.well() if self._seeing else False

    def well(self) -> bool:
        """A request went well. Whether that closed it."""
        if self._pause and not self._seeing:
            return False  # it began before the breaker opened, and says nothing of now
        closed = self._pause > 0
        self._faults, self._pause, self._seeing = 0, 0.0, False
        return closed

    def failed(self) -> bool:
        """A request failed by the server's fault. Whether that opened it (again)."""
        if self._pause and not self._seeing:
            return False
        self._faults += 1
        if self._faults < FAULTS:
            return False
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._until = self._clock() + self._pause
        self._seeing = False
        return True

    def left(self) -> None:
        """A request was given up before it told anything."""
        self._seeing = False
