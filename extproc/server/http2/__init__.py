"""gRPC over HTTP/2 without a gRPC library: frames, calls, and nothing that an ext_proc server has no use for."""
