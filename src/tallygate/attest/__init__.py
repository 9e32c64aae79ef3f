"""What we can prove: signed statements about the ledger."""

from __future__ import annotations

from pathlib import Path

# A second verifier, in JavaScript: it shares no code with this one.
VERIFIER = Path(__file__).with_name("verify.mjs")
