"""The command line: what can be asked (commands/), how it is read (parser), and what does it (the rest)."""
