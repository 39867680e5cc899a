"""Torture: random faults at a queue under load, and a verdict on every promise, from a history kept outside of it.

Read in this order: `load.py` (jobs and tasks), `faults.py` (what is done to them), `history.py` (recorded events),
`judge.py` (promises), `report.py` (the printed report). `stage.py` has the affected processes, `proxy.py` the network
between them, `bench.py` a whole run.
"""
