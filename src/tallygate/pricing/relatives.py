"""Which listed model an unlisted one is most like: the same family and tier, and the version nearest below its own.

Makers name models by a line, a version and words: `gpt-5.3-codex-spark` is line `gpt`, version 5.3, words `codex` and
`spark`. Words that the maker lists on other models (`codex`, `mini`, `opus`) are its tiers and have to agree; a word
that stands on no listed model (`spark`) says nothing about a price that is known.

Pure string work without regular expressions, since ids are hostile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallygate.core.values import value
from tallygate.pricing.identifiers import is_digits, spelled

Version = tuple[int, ...]

WORDS_MAX = 24
# A first number above this is two: gpt-35 is gpt-3.5.
_FIRST_MAX = 20
# Words that say how or since when a model is served, not which one it is.
_NEUTRAL = frozenset(
    (
        "preview", "latest", "exp", "experimental", "beta", "alpha", "it", "instruct", "chat", "thinking",
        "nothinking", "high", "low", "xhigh", "minimal", "default", "stable", "ga", "maas", "versatile", "online",
        "nitro", "terminus", "reasoning",
    )
)  # fmt: skip
# What is made of words, seen or heard, or what only sorts texts: no relative of a model that agents talk to.
_OTHER_KIND = frozenset(
    (
        "image", "images", "tts", "audio", "realtime", "live", "embedding", "embed", "embeddings", "transcribe",
        "whisper", "moderation", "ocr", "speech", "video", "veo", "imagen", "search", "research", "rerank", "safeguard",
        "guard", "robotics", "translate", "banana", "native", "computer", "dall", "sora", "lyria", "omni", "ft",
    )
)  # fmt: skip
# Lines whose bare names people write for the newest model of that name.
CLAUDE_TIERS = frozenset(("opus", "sonnet", "haiku", "fable", "mythos"))
# Makers end lines and begin new ones under another first word: what stands here is of the line behind it.
_LINES = {"codex": ("gpt", "codex"), "chatgpt": ("gpt", None)}


@value(frozen=True, slots=True)
class ModelName:
    """A model's name taken apart: the line it belongs to, its version, its words, and the day it was made, if it says.

    `day` is a number such as 20260416, or 0.
    """

    line: str
    version: Version
    words: frozenset[str]
    day: int = 0


def taken_apart(name: str) -> ModelName:
    """A model's name, without prefixes, as its line, version and words."""
    parts = _parts(spelled(name.lower()))[:WORDS_MAX]
    if parts and parts[0] in CLAUDE_TIERS:
        parts.insert(0, "claude")
    line, version, words, day = "", list[int](), set[str](), 0
    for part in parts:
        if is_digits(part):
            if len(part) == 8:
                day = int(part)
            elif len(part) <= 2 and len(version) < 2:
                version += [int(c) for c in part] if not version and int(part) > _FIRST_MAX else [_number(part)]
            elif len(part) == 4 and 2301 <= int(part) <= 3912:
                day = 20_000_000 + int(part) * 100  # 2512 is December 2025
            continue
        # `qwen3.5` is letters and numbers; what stands behind the numbers (`4o`) comes last.
        count = next((i for i, c in enumerate(part) if not c.isalpha()), len(part))
        letters, behind = part[:count], part[count:]
        end = next((i for i, c in enumerate(behind) if not (c == "." or is_digits(c))), len(behind))
        digits = [number for number in behind[:end].split(".") if number and len(number) <= 2]
        rest = behind[end:]
        if not line and letters:
            mapped, word = _LINES.get(letters, (letters, None))
            line = mapped
            if word is not None:
                words.add(word)
            version += [_number(number) for number in digits[: 2 - len(version)]]
            if rest:
                words.add(rest)
        elif digits and len(letters) <= 1 and not version and not rest:
            version += [_number(number) for number in digits[:2]]  # kimi-k2.6, minimax-m3, deepseek-v3.2
        elif part not in _NEUTRAL:
            words.add(part)
    return ModelName(line, tuple(version), frozenset(words), day)


def nearest(name: ModelName, listed: Sequence[tuple[ModelName, str]]) -> tuple[str, ...]:
    """The ids of the listed models that a name is most like; several where they differ in nothing that is read.

    Of the listed ones of its line those with the same tier count, of these the newest that is not above the name's
    own version, and not newer than the day it names. None where no model of the line has that tier.
    """
    # A name whose own version is an old one is measured by old models too.
    is_old = name.version and name.version[0] < _newest(listed).get(name.line, 0) - 1
    fellows = [(each, id_) for each, id_ in listed if not each.words & _OTHER_KIND] if is_old else current(listed)
    same = [(each, id_) for each, id_ in fellows if each.line == name.line]
    known = frozenset(word for each, _ in same for word in each.words)
    tier = name.words & known
    fitting = [(each, id_) for each, id_ in same if each.words == tier]
    # No model has all of its tiers together: those that have most of them, and nothing else.
    for count in range(len(tier) - 1, 0, -1):
        fitting = fitting or [(each, id_) for each, id_ in same if each.words < tier and len(each.words) == count]
    if name.day:
        fitting = [(each, id_) for each, id_ in fitting if each.day <= name.day] or fitting
    version = _best_version(name.version, {each.version for each, _ in fitting})
    fitting = [(each, id_) for each, id_ in fitting if each.version == version]
    newest = max((each.day for each, _ in fitting), default=0)
    return tuple(id_ for each, id_ in fitting if each.day == newest)


def current(listed: Iterable[tuple[ModelName, str]]) -> list[tuple[ModelName, str]]:
    """The models that agents talk to and that their maker has not replaced long ago.

    Lists keep models for years after their makers took them away. What is two first numbers of a version below the
    newest of its line is retired.
    """
    talking = [(name, id_) for name, id_ in listed if not name.words & _OTHER_KIND]
    newest = _newest(talking)
    return [(name, id_) for name, id_ in talking if not name.version or name.version[0] > newest[name.line] - 2]


def _newest(listed: Iterable[tuple[ModelName, str]]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for name, _ in listed:
        if name.version and not name.words & _OTHER_KIND:
            newest[name.line] = max(newest.get(name.line, 0), name.version[0])
    return newest


def _best_version(own: Version, listed: Iterable[Version]) -> Version | None:
    """The newest that is not above one's own, else the next above it; the newest of all where there is none."""
    versions = sorted(listed)
    if not versions:
        return None
    if not own:
        return versions[-1]
    # A model without a number is the line's name for its newest, and no older version of anything.
    numbered = [version for version in versions if version] or versions
    below = [version for version in numbered if version <= own]
    return below[-1] if below else numbered[0]


def _number(text: str) -> int:
    """One number of a version; 4.20 is 4.2, and comes before 4.3."""
    return int(text[:-1] if len(text) == 2 and text[1] == "0" and text[0] > "1" else text)


def _parts(name: str) -> list[str]:
    for separator in ":@[]=()/_ ":
        name = name.replace(separator, "-")
    found: list[str] = []
    for part in name.split("-"):
        # 4.5 is two numbers; k2.6 stays one word until its letters are known.
        pieces = part.split(".")
        found += pieces if is_digits(pieces[0]) else [part]
    found = [part for part in found if part]
    for start in range(len(found) - 2):
        year, month, day = found[start : start + 3]
        if all(map(is_digits, (year, month, day))) and (len(year), len(month), len(day)) == (4, 2, 2):
            found[start : start + 3] = [year + month + day]  # 2024-05-13
            break
    return found
