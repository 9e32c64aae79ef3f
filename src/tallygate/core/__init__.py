"""What we decide: pure values and rules. No I/O, no clock, no randomness; imports only itself."""
