"""Beside the steps: which of them a request goes through how: one YAML file, merged per route, applied per exchange."""
