"""GitHub Copilot CLI: its transcripts, hooks and settings."""
