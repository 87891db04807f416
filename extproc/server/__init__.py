"""Around all steps: the gRPC server, its workers, health, drain."""
