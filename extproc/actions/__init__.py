"""Step 5, rules: what a match does: disruptive, flow, data, metadata, ctl."""
