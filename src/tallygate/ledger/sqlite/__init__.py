"""The ledger's file: opened at its first use, locked, migrated, held against its anchor."""
