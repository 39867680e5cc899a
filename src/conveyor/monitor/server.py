"""Questions about the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.store import fitness
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def kind() -> Query[str]:
    """Which server it is, as `redis 7.2.4` or `valkey 8.0.1`."""

    def read(answers: Sequence[Mapping[str, str]]) -> str:
        facts = answers[0]
        name = "valkey" if "valkey_version" in facts else "redis"
        return f"{name} {facts.get(f'{name}_version', '?')}"

    return Query((fitness.info("server"),), read)
