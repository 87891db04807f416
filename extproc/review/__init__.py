"""Decision events, read again: what happened, what looks like a false alarm, and the exclusion that would cure it."""
