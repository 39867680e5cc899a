"""Every command as a value: one dataclass each, whose fields are its arguments and options.

Nothing here does anything, so `--help` is quick; `conveyor.cli.table` says which function does a command.
"""
