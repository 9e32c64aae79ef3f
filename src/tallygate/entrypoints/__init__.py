"""Ways in: translate only. No rules, no SQL."""
