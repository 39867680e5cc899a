"""The command line: `main` runs it, `commands` lists it, and each command is a function in the module of its topic."""
