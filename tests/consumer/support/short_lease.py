"""A supervisor as `python -m conveyor.consumer` is one, with a lease and a heartbeat that a test can wait for."""

from __future__ import annotations

import os
import sys

from conveyor.consumer import settings

settings.LEASE, settings.RENEWAL, settings.TICK = float(sys.argv[1]), float(sys.argv[1]) / 3, 0.1
settings.HEARTBEAT = settings.RENEWAL

from conveyor.consumer.__main__ import main  # noqa: E402 - the others take the constants from settings

os._exit(main(sys.argv[2:]))
