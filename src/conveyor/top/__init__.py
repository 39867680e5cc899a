"""The page in the terminal: queues, jobs, workers and failures, live, and the means to stop any of them.

`conveyor.top.app.Top(client, actor, read_only=False).run()` shows one server until somebody leaves. It needs Textual.
"""
