"""When a cell that died is started again, and when that is given up. Pure: it is told the time."""

from __future__ import annotations

from collections import deque

from organism.config import Supervision


class Restarts:
    """Counts one cell's deaths within the window."""

    def __init__(self, policy: Supervision) -> None:
        self._policy = policy
        self._deaths_s: deque[float] = deque()

    def next_delay_s(self, now_s: float) -> float | None:
        """Counts a death; returns the delay before the restart, or None when there were too many."""
        policy = self._policy
        self._deaths_s.append(now_s)
        while self._deaths_s and self._deaths_s[0] <= now_s - policy.restart_window_s:
            self._deaths_s.popleft()
        recent = len(self._deaths_s)
        if recent > policy.max_restarts:
            return None
        return min(policy.restart_delay_s * 2 ** (recent - 1), policy.max_restart_delay_s)

    def obey(self, policy: Supervision) -> None:
        """Takes over a changed policy; deaths up to now count on."""
        self._policy = policy

    def forgive(self) -> None:
        """Starts counting anew: the operator resumed or reloaded."""
        self._deaths_s.clear()
