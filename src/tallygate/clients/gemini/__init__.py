"""Gemini CLI: its transcripts, hooks and settings."""
