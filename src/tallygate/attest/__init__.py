"""What we can prove: signed statements about the ledger."""
