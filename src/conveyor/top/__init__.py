"""The page in the terminal: queues, jobs, workers and failures, live, and the means to stop any of them.

`conveyor.top.app.Top(client, actor, read_only=False).run()` shows one server until somebody leaves.
"""

from importlib.util import find_spec

from conveyor.errors import MissingExtra

if find_spec("textual") is None:
    raise MissingExtra("the terminal view", "top", "textual")
