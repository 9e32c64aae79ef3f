"""What can be proven: statements signed, a ledger held against keys, anchors and its run log."""
