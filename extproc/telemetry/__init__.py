"""What is counted, and who is told: Prometheus, an OTLP collector, the status page. Beside the path of a request."""
