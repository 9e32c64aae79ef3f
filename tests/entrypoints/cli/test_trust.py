"""`tallygate trust`: what waits, what holds now, and what models would cost."""

from __future__ import annotations


def test_trust_says_what_holds_now_and_a_price_once_however_its_model_is_spelled(run, home, monkeypatch):
    shop = home / "shop"
    (shop / ".l6e").mkdir(parents=True)
    prices = '[[price]]\nmatch = "claude-opus-4.7"\ninput = 0.1\noutput = 0.1\n'
    (shop / ".l6e" / "config.toml").write_text('[policy]\nbudget_mode = "soft"\non_fault = "allow"\n' + prices)
    monkeypatch.chdir(shop)
    said = run("trust").stdout
    assert 'policy.budget_mode = "soft"  (now: "hard")' in said
    assert 'policy.on_fault = "allow"  (now: "halt")' in said
    assert "the default" not in said
    rows = [line for line in said.splitlines() if line.endswith("per million tokens")]
    assert rows == ["  claude-opus-4-7: $5.00 -> $0.10 in, $25.00 -> $0.10 out per million tokens"]
