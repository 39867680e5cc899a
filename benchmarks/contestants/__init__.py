"""Conveyor and its peers: a small adapter each, run in an environment of its own. `contestants.toml` lists them."""
