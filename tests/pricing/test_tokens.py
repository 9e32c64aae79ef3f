from __future__ import annotations

import os
import socket
from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.pricing import tokens
from tallygate.pricing.tokens import TokenCount, estimate_milli_tokens


def count_tokens(text, model):
    return tokens.count_tokens(text, model, os.environ)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        pytest.fail("tokens.py reached for the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    tokens._load.cache_clear()
    monkeypatch.setattr(tokens, "_PACKAGES", ())
    yield
    tokens._load.cache_clear()


@pytest.fixture
def vocabulary(monkeypatch, tmp_path):
    """A tiny vocabulary in the place and under the name where tiktoken keeps the real one."""
    words = [bytes([i]) for i in range(256)] + [b"he", b"ll", b"hell", b"hello"]
    blob = b"".join(b64encode(word) + b" %d\n" % rank for rank, word in enumerate(words))
    real = tokens.ENCODING_FILES["o200k_base"]
    file = tokens._EncodingFile(real.url, sha256(blob).hexdigest())
    monkeypatch.setitem(tokens.ENCODING_FILES, "o200k_base", file)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    path = tmp_path / file.file_name
    path.write_bytes(blob)
    return path


def test_gpt_is_counted_exactly_when_the_vocabulary_is_on_the_disk(vocabulary):
    assert count_tokens("hellohello", "gpt-5") == TokenCount(2, "tiktoken:o200k_base")


def test_other_makers_are_estimated_even_then(vocabulary):
    assert count_tokens("hello", "claude-opus-4.7").method == "heuristic:v1 x1.75"


def test_a_damaged_vocabulary_is_left_where_it_is_and_not_used(vocabulary):
    vocabulary.write_bytes(b"damaged")
    assert count_tokens("hello", "gpt-5").method == "heuristic:v1 x1.00"
    assert vocabulary.read_bytes() == b"damaged"


@pytest.mark.parametrize("directory", ["", "nowhere"])
def test_a_missing_vocabulary_is_never_downloaded(monkeypatch, tmp_path, directory):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / directory) if directory else "")
    for model in ("gpt-5", "gpt-4", "o3", "claude-opus-4-7"):
        assert count_tokens("some text", model).method.startswith("heuristic:v1")


def test_the_file_has_the_name_that_tiktoken_gives_it():
    assert tokens.ENCODING_FILES["o200k_base"].file_name == "fb374d419588a4632f3f557e76b4b70aebbca790"


def test_another_tiktoken_than_the_known_one_means_an_estimate(vocabulary, monkeypatch):
    monkeypatch.setattr("tiktoken_ext.openai_public.o200k_base", dict)
    assert count_tokens("hello", "gpt-5").method == "heuristic:v1 x1.00"


def test_a_text_beyond_a_megabyte_is_estimated(vocabulary):
    assert count_tokens("hello " * 200_000, "gpt-5").method == "heuristic:v1 x1.00"


@pytest.mark.parametrize(
    "model, method",
    [
        ("gpt-5", "heuristic:v1 x1.00"),
        ("claude-sonnet-4-6", "heuristic:v1 x1.27"),
        ("claude-opus-4-7", "heuristic:v1 x1.75"),
        ("claude-haiku-5-5", "heuristic:v1 x1.75"),
        ("gemini-2.5-pro", "heuristic:v1 x1.12"),
        ("deepseek/deepseek-r1", "heuristic:v1 x1.03"),
        ("moonshotai/kimi-k2.5", "heuristic:v1 x1.03"),
        ("llama3.3:70b", "heuristic:v1 x1.10"),
        ("", "heuristic:v1 x1.10"),
    ],
)
def test_each_family_has_its_factor(monkeypatch, model, method):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert count_tokens("The quick brown fox.", model).method == method


@pytest.mark.parametrize(
    "text, milli",
    [
        ("", 0), ("word", 950), ("international", 950 + 700), ("été", 950), ("дом", 900), ("漢字", 1400),
        ("12345", 4200), ("...", 680 + 230), ("a\n\n  b", 950 + 1750 + 950), ("a b", 1900),
        ("__init__", 680 * 2 + 950 + 230),
    ],
)  # fmt: skip
def test_the_estimate_adds_up_runs_of_one_kind(text, milli):
    assert estimate_milli_tokens(text) == milli


@given(st.text(max_size=200), st.text(max_size=200))
def test_text_is_never_fewer_tokens_for_what_is_appended_on_a_new_line(first, second):
    assert estimate_milli_tokens(f"{first}\n{second}") >= estimate_milli_tokens(first)


def test_a_megabyte_of_anything_is_counted_in_one_pass():
    for unit in ("a", "1", "(", " ", "_", "漢", "a1_( "):
        assert count_tokens(unit * (1_000_000 // len(unit)), "claude-opus-4-7").tokens >= 0
