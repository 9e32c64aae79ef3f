"""A budget for a model binds whatever its name can be read in, and no other model of the list; prices stay strict."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.ids import AT, HOSTILE

from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.catalog_index import bundled_providers
from tallygate.pricing.identity import is_family, means, one_name, same_model
from tallygate.pricing.reading import read

OPUS, CODEX = "claude-opus-4-7", "gpt-5.3-codex"


def _wide(name: str) -> str:
    """A name in the wide letters of East Asian keyboards."""
    return "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in name)


# Ids that no list has, as gateways, resellers, people and their keyboards write them.
WRITTEN = {
    OPUS: (
        "opus4.7", "claude-opus4.7", "claudeopus47", "claude4.7opus", "anthropic--claude-4.7-opus",
        "sap/anthropic--claude-opus-4-7", "my-claude-opus-4-7-proxy", "@claude-opus-4-7", "anthropic|claude-opus-4-7",
        "cl\u0430ude-opus-4-7", "claude-\u043epus-4-7", "claude\u2014opus\u20144\u20147", _wide(OPUS),
        "claude-op\u200bus-4-7",
        "claude\x00opus-4-7", "x" * 3000 + "/claude-opus-4-7", "claude-opus-4-7/v2", "claude-opus-4-7-fast",
        "Opus 4,7 (fast)", "us-east-1.claude-opus-4-7-v1:0-proxy", "my-proxy-2-claude-opus-v4.7", "xclaude-opus-4-7",
        "cursor/claude-4.7-opus-max", "claude-4.7-opus-max-thinking", "claude-opus-4-7-eap", "best", "my-claude-proxy",
    ),
    CODEX: (
        "gpt5.3-codex", "gpt53codex", "GPT5.3Codex", "codex-5.3", "gpt-5.3-codex:high",
        "openrouter/openai/gpt-5.3-codex:nitro", "openrouter/openai/gpt-5.3-codex:floor", "gpt-5.3-codex:online",
        "gpt-5.3-codex-minimal", "gpt-5.3-codex-xhigh", "gpt-5.3-codex-fast", "gpt-5.3-codex-medium-fast",
        "team-a--gpt_5_3_codex (eu)",
    ),
    "kimi-k2.5": ("my-kimi-k2p5", "kimi_k2-5:nitro"),
    "gemini-2.5-flash": ("gemini25flash", "proxy/gemini-2.5-flash-preview-05-20", "gemini-2.5-flash#eu"),
    "o3": ("my-o3-proxy", "o3:high"),
    "llama-3.3-70b": ("meta-llama/llama-3.3-70b-instruct", "groq/llama-3.3-70b-versatile", "ollama/llama3.3:70b"),
    "qwen3-coder": ("qwen3-coder:480b", "qwen3-coder-480b-a35b-instruct"),
    "gpt-oss": ("openai/gpt-oss-120b",),
    "claude-opus-4.7": ("claude-opus-4-07", "my-claude-opus-04-07"),
    "acme-gpt-5": ("proxy|acme-gpt-5-high", "ACME_GPT5"),
}  # fmt: skip
ANOTHER = (
    ("gpt-5.3-codex", "gpt-5.3-codex-mini"), ("gpt-5.3-codex", "my-gpt-5.3-codex-mini"), ("gpt-5", "gpt5.1"),
    ("claude-3-opus", "claude-opus-4.7"), ("claude-opus-4-7", "claudeopus48"), ("claude-opus-4", "claudeopus41"),
    ("claude-opus-4-7", "my-claude-sonnet-4-7"), ("gpt-4", "gpt4o"), ("gpt-4", "gpt-4-turbo-preview"),
    ("o1", "my-o1-mini"), ("gemini-2.5-flash", "my-gemini-2.5-flash-lite"), ("llama-3.3-70b", "x-llama-3.3-8b"),
    ("claude-opus-4-7-fast", "my-claude-opus-4-7"), ("gpt-5-mini-2025-08-07", "gpt5"), ("acme-gpt-5", "gpt-5"),
    ("kimi-k2", "my-kimi-k2.5"), ("mistral-large", "mistral-large-3"), ("codestral-2501", "codestral-2508"),
    ("gpt-5", "gpt-50"), ("gpt-5", "gpt50"), ("claude-opus-4-7", "claude-opus-4-70"), ("gpt-oss-20b", "gpt-oss-120b"),
    ("qwen3-coder:30b", "qwen3-coder:480b"), ("qwen3-coder", "qwen3-coder-plus"), ("llama-3.3-70b", "llama-3.1-70b"),
    ("llama-3.3-70b-instruct", "llama-3.3-70b"), ("gpt-3.5-turbo", "gpt-3.5-turbo-instruct"),
    ("gemini-flash-1.5", "gemini-flash-1.5-8b"), ("claude-opus-4-7", "totally-new-model"),
    ("gpt-image-2", "gpt-5.4-image-2"),
)  # fmt: skip


@pytest.mark.parametrize("model, written", [(model, each) for model, all_of in WRITTEN.items() for each in all_of])
def test_a_budget_for_a_model_binds_every_id_that_the_model_can_be_read_in(model, written):
    assert means(model, written)


@pytest.mark.parametrize("written", WRITTEN[OPUS])
def test_a_pattern_of_the_family_binds_them_too(written):
    assert means("claude-opus-*", written)
    assert means("claude*", written) or written == "best"


@pytest.mark.parametrize("match, model", ANOTHER)
def test_a_budget_for_a_model_does_not_bind_another_one(match, model):
    assert not means(match, model)


CATALOG = sorted({model.id for provider in bundled_providers() for model in provider.models})
NAMES = sorted({one_name(each) for each in CATALOG})
# What a listed id may say more than another one that a budget for this binds: who serves it, how fast, which release.
_MORE = frozenset(
    ["cf", "aisingapore", "anthropic", "amazon", "ai", "awq", "basic", "batch", "beta", "bf", "c", "code", "databricks",
     "deepseek", "exp", "experimental", "extended", "fast", "fp", "free", "google", "hf", "instruct", "it", "legacy",
     "maas", "meta", "mistral", "mistralai", "moonshotai", "nvfp", "nvidia", "openai", "org", "p", "preview",
     "priority", "qwen", "regional", "tee", "thinking", "turbo", "ultrafast", "us", "v", "versatile", "zai", "x"]
)  # fmt: skip


def _differs(one: str, other: str) -> set[str]:
    """The words and version digits that one of two ids has and the other has not, but for those that may differ."""

    sizes = re.compile(r"\b[ae]?\d+(\.\d+)?b\b")
    if not sizes.search(one):
        other = sizes.sub("", other)  # a budget that names no size is for all of them

    def words(name: str) -> Counter[str]:
        name = re.sub(r"(\d)p(\d)", r"\1.\2", re.sub(r":0|-v[12]|-0\d-\d\d(\d\d)?|nvfp4|-2024-.*", "", name))
        found = Counter(re.findall(r"[a-z]+|\d+", name))
        return Counter({word: 1 for word in found if not (word.isdigit() and (len(word) > 2 or word[0] == "0"))})

    a, b = words(one), words(other)
    return {word for word in (a - b) + (b - a) if word not in _MORE}


# Models that one host lists under a longer or shorter name.
THE_SAME = {
    ("ft:gpt-4o-mini", "gpt-4o-mini-2024-07-18.ft"),
    ("llama-3.1-8b", "llama-3.1-8b-instant"),
    ("qwen-3-coder-480b", "qwen3-coder-480b-a35b"),
    ("qwen-3-coder-480b", "qwen3-coder-480b-a35b-instruct"),
    ("qwen3.6-35b", "qwen3.6-35b-a3b"),
    ("qwen3.5-122b-a10b", "qwen35-122b-a10b"),
    ("qwen35-122b-a10b", "qwen3.5-122b-a10b"),
}


def test_no_budget_for_a_listed_model_binds_another_listed_one():
    wrong = {}
    for one, other in permutations(NAMES, 2):
        found, beside = read(one), read(other)
        if found is None or beside is None or not (found.words & beside.words) or is_family(one) or is_family(other):
            continue
        if means(one, other) and (more := _differs(one, other)):
            wrong[one, other] = more
    assert wrong.keys() <= THE_SAME


FAMILIES = ("claude-", "gpt-", "o1", "o3", "o4", "gemini-", "grok-", "deepseek-", "qwen", "llama-", "mistral-", "kimi-")
READABLE = [each for each in NAMES if each.startswith(FAMILIES) and not is_family(each)]
ALIKE = str.maketrans("aeocpx", "аеосрх")  # noqa: RUF001 - letters of another script
GATEWAYS = ("", "my-", "openrouter/", "acme/team/", "litellm|", "@", "proxy--", "x/y/", "bedrock-eu-west-1.", "Prod: ")
SUFFIXES = ("", "-proxy", ":nitro", ":floor", " (prod)", "-20270101", "#x", "/", "?tier=flex", "-eu", "\u200b", "@007")
DECORATED = st.builds(
    lambda model, before, after, how: (model, before + how(model) + after),
    st.sampled_from(READABLE),
    st.sampled_from(GATEWAYS),
    st.sampled_from(SUFFIXES),
    st.sampled_from(
        (
            str,
            str.upper,
            lambda name: name.replace("-", "_"),
            lambda name: name.replace("-", "\u2014"),
            lambda name: name.replace("-", "--"),
            lambda name: name.replace("-", " "),
            lambda name: name.translate(ALIKE),
            _wide,
            "\u2060".join,
        )
    ),
)


@given(DECORATED)
def test_no_decoration_takes_a_listed_model_out_of_its_budget(decorated):
    model, written = decorated
    assert means(model, written)


def test_every_listed_model_of_the_large_families_can_be_read():
    assert [each for each in READABLE if read(each) is None] == []
    assert len(READABLE) > 400


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80)), st.sampled_from(NAMES))
def test_whatever_is_written_can_be_read_or_not_and_never_fails(text, model):
    found = read(text)
    assert found is None or found.words
    assert means(model, text) in (True, False)


def test_what_a_budget_binds_beside_the_model_is_not_priced_as_it():
    book = PriceBook(PricingSettings())
    for model, written in ((OPUS, "claude-opus-4-7-fast"), (OPUS, "my-claude-opus-4-7-proxy"), ("o1", "o1-preview")):
        assert means(model, written)
        assert not same_model(model, written)
    assert book.quote("claude-opus-4-7-fast", AT).rates != book.quote(OPUS, AT).rates


def test_listed_ids_of_one_provider_with_different_prices_are_never_quoted_as_one():
    """Where the one name is the same, the id itself still finds its own price."""
    book = PriceBook(PricingSettings())
    by_name: dict[tuple[str, str], dict[str, object]] = {}
    for provider in bundled_providers():
        for model in provider.models:
            if provider.id in ("anthropic", "openai", "google", "deepseek", "x-ai", "mistral", "moonshotai"):
                price = book.quote(f"{provider.id}/{model.id}", AT)
                if not price.approximate:
                    by_name.setdefault((provider.id, one_name(model.id)), {})[model.id] = price.rates
    merged = {key for key, found in by_name.items() if len({repr(rates) for rates in found.values()}) > 1}
    # A router's `:free` is another price under one name, as is the oldest and the newest of two snapshots.
    free = {key for key in merged if any(each.endswith(":free") for each in by_name[key])}
    assert merged - free <= {("openai", "gpt-4o"), ("mistral", "ministral-8b")}
    assert by_name["openai", "gpt-4o"]["gpt-4o"] != by_name["openai", "gpt-4o"]["gpt-4o-2024-05-13"]
