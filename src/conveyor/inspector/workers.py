"""Questions about consumers and their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conveyor import control
from conveyor.store import plain
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.control import ConsumerReport


def consumers() -> Query[list[str]]:
    """Which consumers are on the list, those that reported last first; some may be gone."""
    return Query((plain.consumers(),), lambda answers: list(answers[0]))


def reports(names: Sequence[str]) -> Query[list[ConsumerReport]]:
    """What each consumer last reported; without those not heard of for 20 seconds or not readable."""
    if not names:
        return Query((), lambda _: [])
    return Query((plain.reports(names),), _read)


def _read(answers: Sequence[Any]) -> list[ConsumerReport]:
    found = []
    for data in answers[0]:
        try:
            if data is not None:
                found.append(control.decode_report(data))
        except (msgspec.MsgspecError, ValueError):
            continue
    return found
