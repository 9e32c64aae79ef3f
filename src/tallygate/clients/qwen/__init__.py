"""Qwen Code: its transcripts, hooks and settings."""
