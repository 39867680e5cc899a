"""How many jobs ended in the last minute, as seen by one who looks again and again."""

from __future__ import annotations

from typing import NamedTuple

MINUTE = 60.0
#: Seconds between two notes at least.
_APART = 0.9
#: Seconds of age up to which a note says something about the last minute; looks may be half of that apart.
_OLDEST = 90.0


class Lately(NamedTuple):
    """A total of jobs seen to end, with notes of what it was at moments of the last minute and at one before."""

    total: int = 0
    notes: tuple[tuple[float, int], ...] = ()

    def later(self, at: float, more: int) -> Lately:
        """Give the same at a later moment, in seconds since 1970, when so many more jobs had ended."""
        total, notes = self.total + more, self.notes
        if notes and at < notes[-1][0]:  # a clock that was put back
            notes = ()
        whole = [note for note in notes if at - note[0] >= MINUTE][-1:]
        notes = (*whole, *(note for note in notes if at - note[0] < MINUTE))
        if not notes or at - notes[-1][0] >= _APART:
            notes = (*notes, (at, total))
        return Lately(total, notes)

    def in_the_last_minute(self, at: float) -> int | None:
        """Give how many jobs ended in the minute before now; None where nobody has looked for that long."""
        since, then = next(iter(self.notes), (at, 0))
        seconds = at - since
        return round((self.total - then) * MINUTE / seconds) if MINUTE <= seconds <= _OLDEST else None


UNSEEN = Lately()
