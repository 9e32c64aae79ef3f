"""opencode: its transcripts, hooks and settings."""
