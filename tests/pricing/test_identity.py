"""Whether two ids are one model: a table of spellings, and what a match of the settings means among them."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.ids import CERTAIN, GUESSED, HOSTILE, LOCAL, UNKNOWN

from tallygate.pricing.identity import also_meant, means, one_name, same_model

# Each line is one model as its maker, hosts, routers and clients write it.
MODELS = {
    "claude-opus-4-7": (
        "claude-opus-4-7", "claude-opus-4.7", "Claude Opus 4.7", "claude_opus_4.7", "claude-opus-4_7",
        "claude-4.7-opus", "opus-4.7", "claude-opus-4-7-20260416", "claude-opus-4-7@20260416", "claude-opus-4-7[1m]",
        "claude-opus-4-7-1m", "claude-opus-4-7-high", "claude-opus-4.7-thinking", "claude-opus-4-7-latest",
        "anthropic/claude-opus-4.7:beta",
        "anthropic.claude-opus-4-7-v1:0", "us.anthropic.claude-opus-4-7-v1:0", "claude-opus-4-7-v1:0",
        "global.anthropic.claude-opus-4-7-20260416-v1:0", "bedrock/us.anthropic.claude-opus-4-7-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-7-v1:0",
        "vertex_ai/claude-opus-4-7@20260416", "google-vertex-anthropic/claude-opus-4-7@default",
        "azure_ai/claude-opus-4-7", "openrouter/anthropic/claude-opus-4.7", "github_copilot/claude-opus-4.7",
        "litellm_proxy/anthropic/claude-opus-4-7", "databricks-claude-opus-4-7", "claude.opus.4.7",
    ),
    "claude-opus-4-8": ("claude-opus-4-8", "claude-opus-4.8", "us.anthropic.claude-opus-4-8-v1:0", "opus-4-8"),
    "claude-opus-4-7-fast": ("claude-opus-4-7-fast", "openrouter/anthropic/claude-opus-4.7-fast"),
    "claude-opus-4": ("claude-opus-4", "claude-opus-4-0", "claude-opus-4-20250514", "anthropic/claude-opus-4"),
    "claude-opus-4-1": ("claude-opus-4-1", "claude-opus-4-1-20250805", "anthropic/claude-opus-4.1"),
    "claude-3-opus": ("claude-3-opus-20240229", "anthropic.claude-3-opus-20240229-v1:0", "anthropic/claude-3-opus"),
    "claude-sonnet-4-5": ("claude-sonnet-4-5", "claude-4.5-sonnet", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gpt-5": ("gpt-5", "GPT 5", "gpt-5-2025-08-07", "gpt-5-high", "openai/gpt-5", "openai:gpt-5", "azure/gpt-5"),
    "gpt-5-mini": ("gpt-5-mini", "openai/gpt-5-mini", "github_copilot/gpt-5-mini", "azure/gpt-5-mini-2025-08-07"),
    "gpt-5-pro": ("gpt-5-pro", "openai/gpt-5-pro"),
    "gpt-5.1": ("gpt-5.1", "gpt-5-1"),
    "gpt-5.1-codex": ("gpt-5.1-codex", "gpt-5-1-codex", "openai/gpt-5.1-codex"),
    "gpt-3.5-turbo": ("gpt-3.5-turbo", "azure/gpt-35-turbo"),
    "o3": ("o3", "openai/o3", "o3-2025-04-16"),
    "o3-mini": ("o3-mini", "openai/o3-mini"),
    "gemini-2.5-pro": ("gemini-2.5-pro", "gemini-2-5-pro", "models/gemini-2.5-pro", "google/gemini-2.5-pro",
                       "vertex_ai/gemini-2.5-pro", "gemini-2.5-pro-001"),
    "gemini-2.5-flash": ("gemini-2.5-flash", "openrouter/google/gemini-2.5-flash"),
    "gemini-2.5-flash-lite": ("gemini-2.5-flash-lite", "google/gemini-2.5-flash-lite"),
    "llama-3.3-70b-instruct": ("meta-llama/llama-3.3-70b-instruct", "us.meta.llama3-3-70b-instruct-v1:0"),
    "deepseek-v3.1": ("deepseek-ai/DeepSeek-V3.1", "accounts/fireworks/models/deepseek-v3p1"),
    "sonar": ("sonar", "perplexity/sonar"),
    "sonar-pro": ("sonar-pro", "perplexity/sonar-pro"),
}  # fmt: skip
# A model at another speed is the same for a limit, and another one for a price.
AS_WELL = {"claude-opus-4-7": {"claude-opus-4-7-fast"}}
SPELLED = [(name, each) for name, all_of in MODELS.items() for each in all_of]
FAMILIES = {
    "opus": {"claude-opus-4-7", "claude-opus-4-8", "claude-opus-4-7-fast", "claude-opus-4", "claude-opus-4-1",
             "claude-3-opus"},
    "sonnet": {"claude-sonnet-4-5"},
    "claude": {name for name in MODELS if name.startswith("claude")},
    "gpt": {name for name in MODELS if name.startswith("gpt")},
    "codex": {"gpt-5.1-codex"},
    "gemini": {name for name in MODELS if name.startswith("gemini")},
    "llama": {"llama-3.3-70b-instruct"},
}  # fmt: skip
GLOBS = {
    "claude-opus-*": FAMILIES["opus"],
    "claude-opus*": FAMILIES["opus"],
    "opus*": FAMILIES["opus"],
    "Claude Opus*": FAMILIES["opus"],
    "claude_opus_*": FAMILIES["opus"],
    "anthropic/claude-opus-*": FAMILIES["opus"],
    "*opus*": FAMILIES["opus"],
    "claude-opus-4-7*": {"claude-opus-4-7", "claude-opus-4-7-fast"},
    "claude-opus-4.7*": {"claude-opus-4-7", "claude-opus-4-7-fast"},
    "us.anthropic.claude-opus-4-7*": {"claude-opus-4-7", "claude-opus-4-7-fast"},
    "claude-opus-4-?": {"claude-opus-4-7", "claude-opus-4-7-fast", "claude-opus-4-8", "claude-opus-4-1"},
    "anthropic/*": FAMILIES["claude"],
    "*-mini": {"gpt-5-mini", "o3-mini"},
    "gpt-5-*": {"gpt-5-mini", "gpt-5-pro"},
    "*": set(MODELS),
}


@pytest.mark.parametrize("name, written", SPELLED)
def test_every_spelling_of_a_model_has_its_one_name(name, written):
    assert one_name(written) == name


def test_two_different_models_are_never_the_same():
    assert [pair for pair in combinations(MODELS, 2) if same_model(*pair)] == []


@pytest.mark.parametrize("name, written", SPELLED)
def test_a_match_written_in_any_spelling_means_every_spelling_of_its_model_and_of_no_other(name, written):
    assert {other for other, each in SPELLED if means(written, each)} == {name} | AS_WELL.get(name, set())
    assert all(means(written, each) for each in MODELS[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_name_of_a_family_means_all_its_models_in_every_spelling(family):
    assert {each for each in SPELLED if means(family, each[1])} == {e for e in SPELLED if e[0] in FAMILIES[family]}


@pytest.mark.parametrize("glob", GLOBS)
def test_a_pattern_is_held_against_the_one_name_of_every_spelling(glob):
    missed = [written for name, written in SPELLED if name in GLOBS[glob] and not means(glob, written)]
    beside = {name for name, written in SPELLED if name not in GLOBS[glob] and means(glob, name)}
    assert (missed, beside) == ([], set())


@pytest.mark.parametrize("prefix, served", [("bedrock/*", "aws"), ("openrouter/*", "openrouter"), ("azure/*", "azure")])
def test_a_pattern_of_a_prefix_alone_means_what_that_host_serves(prefix, served):
    hosted = {
        "aws": "us.anthropic.claude-opus-4-7-v1:0",
        "openrouter": "openrouter/anthropic/claude-opus-4.7",
        "azure": "azure/gpt-5",
    }
    assert {host for host, written in hosted.items() if means(prefix, written)} == {served}
    assert not means(prefix, "claude-opus-4-7")


@pytest.mark.parametrize("match", ["claude-opus-4-7", "claude-opus-4.7*", "claude-opus-*", "opus", "claude-opus"])
@pytest.mark.parametrize("left_open", ["opus", "claude-opus-latest", "opusplan"])
def test_an_id_that_leaves_the_model_open_is_meant_by_a_match_for_any_that_it_may_be(match, left_open):
    assert means(match, left_open)
    assert not means("claude-sonnet-4-5", "opus")
    assert not means("gpt-5*", left_open)


def test_a_name_that_the_user_gave_a_model_is_meant_with_it():
    aliases = [("cheap", "claude-haiku-4-5"), ("work", "claude-opus-4.7")]
    assert also_meant("claude-haiku-*", aliases) == ("cheap",)
    assert also_meant("work", aliases) == ("claude-opus-4.7",)
    assert also_meant("gpt-5", aliases) == ()


IDS = st.one_of(
    st.sampled_from(sorted({*chain(CERTAIN, GUESSED, LOCAL, UNKNOWN, HOSTILE), *(each for _, each in SPELLED)})),
    st.text(max_size=60),
)


@given(IDS, IDS)
def test_being_one_model_holds_both_ways_and_a_name_is_its_own(one, other):
    assert one_name(one_name(one)) == one_name(one)
    assert same_model(one, other) == same_model(other, one)
    if same_model(one, other):
        assert [means(each, one) for each in MODELS] == [means(each, other) for each in MODELS]


@given(st.sampled_from(sorted(MODELS)), st.sampled_from(SPELLED), st.booleans())
def test_a_model_never_slips_past_a_match_for_it_by_its_spelling(model, spelled, upper):
    name, written = spelled
    written = written.upper() if upper and not written.startswith("arn") else written
    assert means(model, written) == (name in {model} | AS_WELL.get(model, set()))


@given(IDS, IDS)
def test_any_two_texts_can_be_asked_about(match, model):
    assert means(match, model) in (True, False)
    assert means("*", model)
