"""A supervisor like `python -m conveyor.consumer`, with a lease and a heartbeat short enough for tests."""

from __future__ import annotations

import os
import sys

# Where they are loaded, they have taken the constants from settings.
for name in [name for name in sys.modules if name.startswith("conveyor.consumer")]:
    del sys.modules[name]

from conveyor.consumer import settings  # noqa: E402

settings.LEASE, settings.RENEWAL, settings.TICK = float(sys.argv[1]), float(sys.argv[1]) / 3, 0.1
settings.HEARTBEAT, settings.SURE = settings.RENEWAL, settings.LEASE / 3

from conveyor.consumer.__main__ import main  # noqa: E402 - the others take the constants from settings

os._exit(main(sys.argv[2:]))
