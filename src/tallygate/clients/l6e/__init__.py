"""What l6e-mcp kept of its sessions: its database and its run log, read and never written."""
