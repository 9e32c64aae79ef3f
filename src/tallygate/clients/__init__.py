"""Who calls us: one folder a client, with its installer, hooks and transcripts."""
