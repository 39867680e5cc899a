"""The terminal view: queues, jobs, workers and failures, live, and controls to stop any of them.

`conveyor.top.app.Top(client, actor, read_only=False).run()` shows one server until the user quits. Requires Textual.
"""

from __future__ import annotations

from importlib.util import find_spec

from conveyor.errors import MissingExtra

if find_spec("textual") is None:
    raise MissingExtra("the terminal view", "top", "textual")
