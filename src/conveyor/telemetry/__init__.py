"""What is told about events: to people as lines of a log."""
