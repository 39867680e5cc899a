"""How often to look: less often where the server takes its time, for looking must not cost what is looked at."""

from __future__ import annotations

#: Seconds between two looks, the usual first.
STEPS = (1.0, 2.0, 5.0, 15.0)
#: Part of a step that a look may take before the next step is longer, and below which it is shorter again.
TOO_SLOW, FAST_ENOUGH = 0.25, 0.05


class Pace:
    """The pace of one who looks again and again."""

    def __init__(self) -> None:
        self.step = 0

    @property
    def interval(self) -> float:
        """Seconds from one look to the next."""
        return STEPS[self.step]

    def took(self, seconds: float) -> None:
        """Tell how long the last look took."""
        if seconds > TOO_SLOW * self.interval:
            self.step = min(self.step + 1, len(STEPS) - 1)
        elif self.step and seconds < FAST_ENOUGH * self.interval:
            self.step -= 1

    def failed(self) -> None:
        """Tell that there was no answer: look less often, but not so seldom that its return is missed for long."""
        self.step = min(self.step + 1, len(STEPS) - 2)

    def restart(self) -> None:
        """Look as often as usual again: that the server was away says nothing about its speed."""
        self.step = 0
