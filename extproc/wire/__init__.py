"""Step 1 and 7: the only code that knows Envoy's protobuf."""
