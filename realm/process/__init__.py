"""What every process needs: signals, gRPC server, telemetry, wake-ups, threads, waiting."""
