"""How many tokens a text is, offline: OpenAI's tokenizer where its file is already here, else an estimate.

tiktoken downloads a missing file without a time limit. It is therefore never asked to load anything: its
encoding is built from bytes that were read here and whose SHA-256 is the published one.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha1, sha256
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import Lock
from types import FunctionType
from typing import TYPE_CHECKING

from tallygate.core.regex import regex
from tallygate.core.values import value
from tallygate.pricing.identifiers import canonical, family

if TYPE_CHECKING:
    from tiktoken import Encoding

HEURISTIC = "heuristic:v1"
# In hundredths of o200k tokens, measured on real transcripts and token-count services.
FACTORS_PERCENT = {"gpt": 100, "claude": 127, "claude-4.7": 175, "gemini": 112, "deepseek": 103, "kimi": 103}
OTHER_FACTOR_PERCENT = 110
# Beyond this the tokenizer's time and memory are worth more than its exactness.
EXACT_CHARACTERS_MAX = 1_000_000


@value(frozen=True, slots=True)
class TokenCount:
    """A count and how it was made, such as `tiktoken:o200k_base` or `heuristic:v1 x1.75`."""

    tokens: int
    method: str


@value(frozen=True, slots=True)
class _EncodingFile:
    """One published vocabulary: where tiktoken would fetch it and what its bytes must hash to."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name tiktoken keeps it under."""
        return sha1(self.url.encode(), usedforsecurity=False).hexdigest()


ENCODING_FILES = {
    "o200k_base": _EncodingFile(
        "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": _EncodingFile(
        "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
_CL100K_MODELS = ("gpt-4-", "gpt-3.5", "gpt-35", "ft:gpt-3.5", "text-embedding")
# Packages that ship the very files of OpenAI, under the names that tiktoken gives them.
_PACKAGES = (("litellm", "litellm_core_utils/tokenizers"),)


def count_tokens(text: str, model: str, environ: Mapping[str, str]) -> TokenCount:
    """Count a text as a model reads it; exact only for GPT, and only with its vocabulary where variables name it."""
    model_family = family(model)
    if model_family == "gpt" and len(text) <= EXACT_CHARACTERS_MAX:
        canonical_id = canonical(model)
        older = canonical_id == "gpt-4" or canonical_id.startswith(_CL100K_MODELS)
        name = "cl100k_base" if older else "o200k_base"
        if (encoding := _encoding(name, environ)) is not None:
            return TokenCount(len(encoding.encode_ordinary(text)), f"tiktoken:{name}")
    percent = FACTORS_PERCENT.get(model_family, OTHER_FACTOR_PERCENT)
    tokens = -(-estimate_milli_tokens(text) * percent // 100_000)
    return TokenCount(tokens, f"{HEURISTIC} x{percent // 100}.{percent % 100:02d}")


# The alternatives share no character, so a match never has anything to go back to.
_RUNS = regex(r"(?P<word>[^\W\d_]+)|(?P<digits>\d{1,3})|(?P<marks>[^\w\s]+|_+)|(?P<space>\s+)")
# Fitted to o200k_base, in thousandths of a token.
_LATIN_WORD, _LETTER_BEYOND_6, _OTHER_LETTER, _CJK_LETTER = 950, 100, 300, 700
_CJK = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF))
_DIGIT_GROUP, _MARKS, _MARK_BEYOND_1, _NEWLINES = 2100, 680, 115, 1750


def estimate_milli_tokens(text: str) -> int:
    """Thousandths of a token of OpenAI's current vocabulary that a text is likely to be."""
    total = 0
    for run in _RUNS.finditer(text):
        kind, part = run.lastgroup, run.group()
        if kind == "word":
            total += _word(part)
        elif kind == "space":
            total += _NEWLINES if "\n" in part else 0
        elif kind == "digits":
            total += _DIGIT_GROUP
        else:
            total += _MARKS + _MARK_BEYOND_1 * (len(part) - 1)
    return total


def _word(word: str) -> int:
    if word.isascii():
        return _LATIN_WORD + _LETTER_BEYOND_6 * max(0, len(word) - 6)
    latin = cjk = 0
    for character in word:
        point = ord(character)
        if point < 0x250:
            latin += 1
        elif point >= 0x20000 or any(first <= point <= last for first, last in _CJK):
            cjk += 1
    words = _LATIN_WORD + _LETTER_BEYOND_6 * max(0, latin - 6) if latin else 0
    return words + _CJK_LETTER * cjk + _OTHER_LETTER * (len(word) - latin - cjk)


_loading = Lock()


def _encoding(name: str, environ: Mapping[str, str]) -> Encoding | None:
    # Where tiktoken keeps its files, by its own rule; an empty variable says nowhere.
    named = next((environ[each] for each in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR") if each in environ), None)
    if named is None:
        temporary = next((environ[each] for each in ("TMPDIR", "TEMP", "TMP") if environ.get(each)), "/tmp")  # noqa: S108
        named = f"{temporary}/data-gym-cache"
    with _loading:
        return _load(name, Path(named) if named else None)


# What is found under the same folders is the same for everybody: its bytes are held against their digest.
@lru_cache(maxsize=8)
def _load(name: str, folder: Path | None) -> Encoding | None:
    """Build tiktoken's encoding from verified bytes; `None` when they are not on this disk."""
    blob = _verified_bytes(ENCODING_FILES[name], folder)
    if blob is None:
        return None
    try:
        import tiktoken

        recipe = getattr(import_module("tiktoken_ext.openai_public"), name)
        pairs = (line.split() for line in blob.splitlines() if line)
        ranks = {b64decode(token): int(rank) for token, rank in pairs}
        # tiktoken's own recipe of an encoding is run with a loader that hands over these bytes: its own would download.
        loads = "load_tiktoken_bpe"
        if not isinstance(recipe, FunctionType) or loads not in recipe.__code__.co_names:
            return None
        recipe = FunctionType(recipe.__code__, {**recipe.__globals__, loads: lambda *_args, **_kwargs: ranks})
        return tiktoken.Encoding(**recipe())
    except (ImportError, AttributeError, TypeError, ValueError):
        # Another tiktoken than the one known here: an estimate is better than no answer.
        return None


def _verified_bytes(file: _EncodingFile, folder: Path | None) -> bytes | None:
    specs = ((find_spec(package), inside) for package, inside in _PACKAGES)
    # Behind tiktoken's own folder: packages that bring the same files.
    packaged = (
        Path(location) / inside
        for spec, inside in specs
        for location in (spec.submodule_search_locations if spec else None) or ()
    )
    for directory in chain([] if folder is None else [folder], packaged):
        try:
            blob = (directory / file.file_name).read_bytes()
        except OSError:
            continue
        if sha256(blob).hexdigest() == file.sha256:
            return blob
    return None
