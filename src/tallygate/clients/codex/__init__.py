"""Codex: its transcripts, hooks and settings."""
