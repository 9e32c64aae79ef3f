"""What operations may ask of a ledger, by subject."""
