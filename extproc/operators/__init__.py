"""Step 5, rules: @rx, @pm, @ipMatch, ...: compiled argument, then value → captures or None."""
