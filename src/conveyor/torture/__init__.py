"""Torture: random faults at a queue under load, and a verdict on every promise, from a history kept outside of it.

Read in this order: `load.py` (what is put and run), `faults.py` (what is done to it), `history.py` (what was seen),
`judge.py` (what must hold), `report.py` (what is said about it). `stage.py` has the processes that all of this happens
to, `proxy.py` the network between them, `bench.py` a whole run.
"""
