"""What clients write down and send, read as it grows: files, lines, hooks, telemetry."""
