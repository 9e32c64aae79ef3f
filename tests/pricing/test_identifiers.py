from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.ids import CERTAIN, GUESSED, HOSTILE, LOCAL, UNKNOWN

from tallygate.pricing.identifiers import Rest, canonical, family, identify, judge_rest, shown

ALL_IDS = tuple(chain(CERTAIN, GUESSED, LOCAL, UNKNOWN, HOSTILE))
PIECES = st.sampled_from(
    ["claude", "opus", "sonnet", "4", "5", "4.7", "20260416", "-", ".", "/", ":", "@", "[1m]", "high", "thinking",
     "gpt", "gemini", "us.", "anthropic.", "v1:0", "ollama", "bedrock", "fast", "free", "arn:aws:bedrock:", " ", "~"]
)  # fmt: skip
IDS = st.one_of(st.sampled_from(ALL_IDS), st.text(max_size=80), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(
    "written",
    [
        "claude-opus-4-7", "claude-opus-4.7", "Claude Opus 4.7", "claude-4.7-opus", "opus-4.7",
        "claude-opus-4-7-20260416", "claude-opus-4-7@20260416", "claude-opus-4-7[1m]", "claude-opus-4-7-xhigh",
        "claude-opus-4-7-20260416-thinking", "anthropic/claude-opus-4.7:beta", "us.anthropic.claude-opus-4-7-v1:0",
        "openrouter/anthropic/claude-opus-4.7", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-7",
    ],
)  # fmt: skip
def test_every_way_of_writing_a_model_has_one_canonical_name(written):
    assert canonical(written) == "claude-opus-4-7"


@pytest.mark.parametrize(
    "kept",
    ["claude-opus-4-7-fast", "gpt-5.1-codex-max", "mistral-medium", "kimi-k2-thinking", "qwen3-coder-plus",
     "llama3.3:70b", "claude-opus-4-10", "deepseek-v4-flash", "composer-2.5-fast"],
)  # fmt: skip
def test_words_that_are_another_price_are_never_taken_off(kept):
    assert canonical(kept) == kept


@given(IDS)
def test_the_canonical_name_of_a_canonical_name_is_itself(model):
    once = canonical(model)
    assert canonical(once) == once


@given(IDS)
def test_any_text_can_be_taken_apart(model):
    identifier = identify(model)
    assert len(identifier.text) <= 256
    assert identifier.opaque is not None or identifier.spellings


@pytest.mark.parametrize(
    "model, channel, geo",
    [
        ("bedrock/us.anthropic.claude-opus-4-7-v1:0", "aws", "us"),
        ("global.anthropic.claude-opus-4-7-v1:0", "aws", "global"),
        ("meta.llama3-3-70b-instruct-v1:0", "aws", None),
        ("vertex_ai/claude-opus-4-7", "google", None),
        ("claude-opus-4-7@20260416", "google", None),
        ("openrouter/z-ai/glm-4.6", "openrouter", None),
        ("github-copilot/gpt-5", "github-copilot", None),
        ("huggingface/together/moonshotai/Kimi-K3", "huggingface_together", None),
        ("openai/gpt-5", None, None),
    ],
)
def test_a_prefix_names_the_channel_that_bills(model, channel, geo):
    identifier = identify(model)
    assert (identifier.channel, identifier.geo) == (channel, geo)


@pytest.mark.parametrize("model", LOCAL)
def test_local_runtimes_are_recognised(model):
    assert identify(model).local


@pytest.mark.parametrize(
    "model",
    ["ollama/claude-opus-4-7", "claude-opus-4-7:7b", "local/gpt-5", "vllm/gemini-2.5-pro", "my-claude:7b",
     "ollama/gpt-oss:120b-cloud", "qwen3-coder:480b-cloud", "deepseek-r1:free"],
)  # fmt: skip
def test_closed_models_and_cloud_tags_are_never_local(model):
    assert not identify(model).local


@pytest.mark.parametrize(
    "model, expected",
    [
        ("gpt-5-mini", "gpt"), ("o4-mini", "gpt"), ("codex-mini", "gpt"), ("claude-sonnet-4-6", "claude"),
        ("claude-3.5-sonnet", "claude"), ("claude-opus-4.7", "claude-4.7"), ("claude-opus-4-10", "claude-4.7"),
        ("claude-haiku-5-5", "claude-4.7"), ("claude-fable-5", "claude-4.7"), ("sonnet", "claude-4.7"),
        ("us.anthropic.claude-opus-4-8-v1:0", "claude-4.7"), ("gemini-2.5-pro", "gemini"),
        ("deepseek/deepseek-r1", "deepseek"), ("moonshotai/kimi-k2.5", "kimi"), ("llama3.3:70b", "llama"),
        ("glm-4.6", "glm"), ("something-else", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_the_family_says_which_tokenizer_reads_the_text(model, expected):
    assert family(model) == expected


@pytest.mark.parametrize(
    "anchor, rest, expected",
    [
        ("claude-opus-4-7", "", Rest.NOTHING),
        ("claude-opus-4-7", "-20260416", Rest.NOTHING),
        ("claude-opus-4-7", "-2026-04-16-high", Rest.NOTHING),
        ("claude-sonnet-4-2025", "0514", Rest.NOTHING),
        ("claude-opus-4-1", "0", Rest.OTHER_MODEL),
        ("claude-opus-4-7", "-2", Rest.OTHER_MODEL),
        ("claude-opus-4-7", "-fast", Rest.OTHER_MODEL),
        ("claude-opus-4-7", "-max-preview", Rest.OTHER_MODEL),
        ("claude-opus-4-7", "-unheard-of", Rest.UNSURE),
        ("claude-opus-4-7", "-0905", Rest.UNSURE),
        ("claude-opus-4-7", "-11-2026", Rest.UNSURE),
        ("claude-opus-4-7", "-20261399", Rest.OTHER_MODEL),
    ],
)
def test_what_an_entry_leaves_over_decides_whether_it_is_the_same_model(anchor, rest, expected):
    assert judge_rest(rest, anchor, "claude") is expected


def test_an_id_in_a_message_is_escaped_and_cut():
    assert shown("a\x1b[31mb\n") == "a\\u001b[31mb\\u000a"
    assert len(shown("x" * 500)) == 80
