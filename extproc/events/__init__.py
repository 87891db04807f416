"""Step 8, events: decision records and masking: model in, bytes out."""
