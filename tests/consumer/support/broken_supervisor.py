"""A supervisor as `python -m conveyor.consumer` is one, with an error in its own code about worker 1."""

from __future__ import annotations

import os
import sys
from typing import Any

from conveyor.consumer import recovery, relief, supervisor
from conveyor.consumer.__main__ import main
from conveyor.consumer.ladder import Ladder
from conveyor.consumer.worker import Worker


def breaking(usual: Any) -> Any:
    def broken(*arguments: Any, **settings: Any) -> Any:
        for one in arguments:
            if one.__class__ is Worker and one.name.endswith("/1"):
                raise LookupError("an error of ours")
        return usual(*arguments, **settings)

    return broken


def never(*_: Any) -> None:
    raise LookupError("an error of ours")


match sys.argv[1]:
    case "recover":
        supervisor.recover = breaking(recovery.recover)
    case "report":
        Worker.report = breaking(Worker.report)
    case "relieve":
        relief._give_back = breaking(relief._give_back)
    case "obey":
        Ladder.obey = never

os._exit(main(sys.argv[2:]))
