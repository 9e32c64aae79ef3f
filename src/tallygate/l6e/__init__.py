"""l6e-mcp's own history: its database and run log, read and never written."""
