"""`tallygate prices` and `tallygate estimate`."""

from __future__ import annotations

import tomllib

import pytest
from tests.transcripts import MODEL, write_claude, write_codex


def test_an_estimate_names_cost_and_basis(run, run_json):
    found = run_json("estimate", "claude-opus-4.7", "10000", "2000")
    assert found["cost_usd"] == 0.1
    assert found["price"]["key"] == "anthropic:claude-opus-4-7"
    assert (found["price"]["known"], found["price"]["warning"]) == (True, None)
    text = run("estimate", "claude-opus-4.7", "10000", "2000").stdout
    assert text.startswith("$0.10 (£")
    assert "10,000 tokens in and 2,000 out" in text


def test_an_unknown_model_costs_something_and_shows_the_lines_that_settle_it(run, run_json):
    assert run_json("estimate", "zzz-9", "1000", "1000")["cost_usd"] > 0
    lines = run("estimate", "zzz-9", "1000", "1000").stdout.splitlines()
    assert lines[2].startswith("warning: No price is known for 'zzz-9'.")
    assert 'match = "zzz-9"' in lines


def test_prices_are_shown_to_the_last_digit(run, run_json):
    [cheap] = run_json("prices", "claude-opus-4.7:batch")["models"]
    assert cheap["cache_write_5m"] == 3.125
    assert "$3.125" in run("prices", "claude-opus-4.7:batch").stdout


def test_an_id_as_an_agent_writes_it_is_answered_with_its_price(run, run_json):
    assert run_json("prices", "claude-opus-4.7")["asked"]["key"] == "anthropic:claude-opus-4-7"
    assert "anthropic:claude-opus-4-7" in run("prices", "claude-opus-4.7").stdout.splitlines()[0]


def test_a_list_can_be_narrowed_and_says_how_much_more_there_is(run, run_json):
    found = run_json("prices", "haiku", "--provider", "anthropic", "--limit", "1")
    assert {each["provider"] for each in found["models"]} == {"anthropic"}
    assert len(found["models"]) == 1 < found["matching"]
    result = run("prices", "haiku", "--provider", "anthropic", "--limit", "1")
    assert f"{found['matching'] - 1} more" in result.stderr


def test_a_query_that_fits_nothing_is_answered_with_what_such_a_model_would_cost(run):
    result = run("prices", "zzz-9")
    assert result.exit_code == 0
    assert "warning: No price is known" in result.stdout
    assert "no listed id fits" in result.stderr


def test_prices_name_their_source_and_version(run_json):
    found = run_json("prices", "--limit", "3")
    assert found["source"] == "genai-prices"
    assert found["version"]
    assert found["asked"] is None


def test_prices_need_no_ledger(run, monkeypatch, home):
    blocked = home / "file"
    blocked.touch()
    monkeypatch.setenv("TALLYGATE_HOME", str(blocked / "below"))
    assert run("estimate", "gpt-5", "1", "1").exit_code == 0
    assert run("prices", "gpt-5").exit_code == 0


def test_the_tokens_of_a_text_are_counted_and_the_count_says_how(run, run_json, tmp_path):
    text = tmp_path / "prompt.txt"
    text.write_text("def add(a, b):\n    return a + b\n" * 100)
    found = run_json("estimate", "claude-opus-4.7", f"@{text}", "0")
    assert found["counted_by"] == "heuristic:v1 x1.75"
    assert 1500 < found["input_tokens"] < 2800
    assert "counted by heuristic" in run("estimate", "claude-opus-4.7", f"@{text}", "0").stdout


def test_a_text_that_is_not_there_is_an_error(run):
    answer = run("estimate", "gpt-5", "@nowhere.txt", "1")
    assert answer.exit_code != 0
    assert "nowhere.txt" in answer.stderr


def test_one_token_is_one_and_a_part_of_one_is_none(run):
    assert " for 1 token in and 1 out of gpt-5" in run("estimate", "gpt-5", "1", "1").stdout
    told = run("estimate", "gpt-5", "1", "1.5")
    assert told.exit_code == 2
    assert "OUTPUT must be a whole number of tokens from 0" in told.stderr


def test_a_model_that_is_written_with_a_dot_or_a_dash_is_listed_once(run_json):
    found = [(each["provider"], each["id"]) for each in run_json("prices", "opus-4")["models"]]
    names = [(provider, name.replace(".", "-")) for provider, name in found]
    assert len(set(names)) == len(names)


def test_a_model_is_shown_with_the_price_that_its_responses_got(run, run_json, home):
    path = write_codex(home, 3)
    path.write_bytes(path.read_bytes().replace(b'"source":"cli"', b'"source":"cli","model_provider":"acme"'))
    run("sync")
    found = run_json("prices", "gpt-5.4")
    assert (found["asked"]["known"], found["asked"]["approximate"]) == (True, False)
    [booked] = found["recorded"]
    assert (booked["model"], booked["certainty"]) == ("acme/gpt-5.4", "approximate")
    assert (booked["responses"], booked["cost"]) == (3, run_json("usage")["total"]["cost"])
    [row] = tomllib.loads(booked["settings_to_add"])["price"]
    assert (row["match"], row["provider"]) == ("acme/gpt-5.4", "acme")
    text = run("prices", "gpt-5.4").stdout
    assert "recorded as acme/gpt-5.4: 3 responses, " in text
    assert booked["settings_to_add"] in text
    assert run_json("prices", "acme/gpt-5.4")["recorded"] == [booked]
    assert run_json("prices", "gpt-5.4-mini")["recorded"] == []


def test_a_known_price_needs_no_lines(run, run_json, home):
    write_claude(home, [1])
    run("sync")
    [booked] = run_json("prices", "claude-opus-4.7")["recorded"]
    assert (booked["certainty"], booked["settings_to_add"]) == ("known", None)
    assert "config.toml" not in run("prices", "claude-opus-4.7").stdout


def test_the_lines_that_a_halt_promises_are_printed_also_where_the_id_is_part_of_a_listed_one(run, home):
    write_claude(home, [1], model="zzz-9")
    run("sync")
    for query in ("zzz-9", "gp"):
        assert f'match = "{query}"' in run("prices", query).stdout.splitlines()


def test_a_source_without_a_version_is_told_without_a_gap(run):
    told = run("prices", "step-3.6-flash").output
    assert "tallygate: step-3.6-flash" in told
    assert "tallygate, approximate" in told


def test_a_model_without_a_list_s_price_is_listed_once(run_json):
    for query in ("step-3.6-flash", "deepseek-chat"):
        names = [(each["id"], each["provider"]) for each in run_json("prices", query)["models"]]
        assert len(names) == len(set(names))
        assert sum(name == query for name, _ in names) == 1


def test_a_price_of_your_own_takes_the_place_of_the_list_s(run_json, home, monkeypatch):
    file = home / "user.toml"
    file.write_text('[[price]]\nmatch = "gpt-5"\ninput = 1\noutput = 2\n')
    monkeypatch.setenv("TALLYGATE_CONFIG", str(file))
    found = [each for each in run_json("prices", "gpt-5")["models"] if each["id"] == "gpt-5"]
    assert [(each["provider"], each["input"], each["source"]) for each in found] == [("openai", 1, "override")]


@pytest.mark.parametrize(("query", "told"), [("gpt-4o-2024-08-06", False), ("claude-sonnet-7", False), ("zz-9", True)])
def test_only_what_could_not_be_resolved_is_said_to_fit_nothing(run, query, told):
    shown = run("prices", query)
    assert shown.stdout.startswith(f"{query}: $")
    assert ("no listed id fits" in shown.stderr) is told


def test_what_was_recorded_at_one_price_is_told_in_one_line(run, run_json, home):
    write_claude(home, [1], usage={"speed": "standard"})
    write_claude(home, [2, 3, 4])
    run("sync")
    [booked] = run_json("prices", MODEL)["recorded"]
    assert booked["responses"] == 4
