"""What we show: rows it is given, in the shape people and other programs read. Reads no ledger."""
