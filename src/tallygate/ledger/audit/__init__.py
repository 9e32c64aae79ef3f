"""A ledger held against its own events, made anew from them, or one that a stranger hands over."""
