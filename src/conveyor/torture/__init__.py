"""Torture: load, faults, history, judge and report, against a real server."""
