"""Values and bytes that travel between processes: calls, outcomes, ids, control messages."""
