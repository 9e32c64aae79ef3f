"""Whether two ids are one model: the question that budgets, prices, calibration, bills and reports all ask here.

An id says who serves a model, when it was built and how hard it thinks; none of that makes another model. Version
digits, sizes and `-fast` do. A match of the settings is an id, an id with `*` and `?` in it, or the name of a family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from tallygate.pricing.identifiers import Identifier, canonical, identify, is_digits, provider_of
from tallygate.pricing.reading import read, reads_as

_NAMES_KEPT = 8192
_FOLDS_MAX = 16
_FIREWORKS = "accounts/fireworks/"
_TIERS = frozenset({"opus", "sonnet", "haiku", "fable", "mythos", "instant"})
# Names of whole families; none of them is a model of its own, so that a match which is one of these means all of it.
_FAMILIES = _TIERS | {
    "claude", "gpt", "chatgpt", "codex", "gemini", "gemma", "grok", "deepseek", "kimi", "llama", "qwen", "mistral",
    "mixtral", "ministral", "codestral", "devstral", "magistral", "glm", "minimax", "nova", "phi", "nemotron", "jamba",
}  # fmt: skip
# What clients take instead of an id, and let mean one of several models.
_CHOICES = {"opusplan": frozenset({"opus", "sonnet"}), "best": frozenset({"opus"})}
_WILD = ("*", "?")


@lru_cache(maxsize=_NAMES_KEPT)
def one_name(model: str) -> str:
    """The one name of a model, whatever prefix, date, effort, dots or revision it is written with.

    >>> one_name("us.anthropic.claude-opus-4-7-v1:0"), one_name("openrouter/anthropic/claude-opus-4.7")
    ('claude-opus-4-7', 'claude-opus-4-7')
    >>> one_name("claude-opus-4-7-fast"), one_name("gpt-5-mini-2025-08-07")
    ('claude-opus-4-7-fast', 'gpt-5-mini')
    """
    name = model[max(model.lower().find(_FIREWORKS), 0) :]  # whatever a gateway sets before a path of Fireworks
    for _ in range(_FOLDS_MAX):
        folded = _folded(canonical(name))
        if folded == name:
            break
        name = folded
    return name


@lru_cache(maxsize=_NAMES_KEPT)
def listed_name(model: str) -> str:
    """The name under which reports add a model up: what a router gives away stays apart from what it sells.

    >>> listed_name("openrouter/qwen/qwen3-coder:free"), listed_name("qwen/qwen3-coder")
    ('qwen3-coder:free', 'qwen3-coder')
    """
    found = identify(model)
    if found.family == "other":
        return model  # of a family that nobody knows nothing is known to be only spelling
    return f"{one_name(model)}:free" if found.free else one_name(model)


def same_model(one: str, other: str) -> bool:
    """Whether two ids are the same model."""
    return one_name(one) == one_name(other)


@lru_cache(maxsize=_NAMES_KEPT)
def means(match: str, model: str) -> bool:
    """Whether a match of the settings means a model: as an id, as a pattern of ids, or as the name of a family.

    Patterns are held against the one name, every other spelling and the id as it came. An id that leaves open which
    model of a family it is (`opus`) is meant by a match for any of them: what may be limited is limited. So is one that
    is nobody's spelling, if the model can be read in it: `my-claudeopus47-proxy`, `gpt5.3-codex:nitro`, and a model at
    another speed or as its preview. It goes one way: a match for `gpt-5-fast` means nothing that is not fast.

    >>> [means(match, "bedrock/us.anthropic.claude-opus-4-7-v1:0") for match in ("claude-opus-4.7", "opus", "claude-*")]
    [True, True, True]
    >>> [means(match, "claude-opus-4-8") for match in ("claude-opus-4-7", "claude-opus-4.7*", "sonnet")]
    [False, False, False]
    >>> means("gpt-5.3-codex", "proxy|GPT5.3-codex:nitro"), means("gpt-5.3-codex", "gpt-5.3-codex-mini")
    (True, False)
    """
    pattern = match.strip().lower()
    name = one_name(model)
    found = read(model)
    if _means(pattern, model, name):
        return True
    if found is None:
        return False
    whole = found.name != name and not (
        found.released and is_family(found.name)
    )  # `codestral-2508` leaves nothing open
    if whole and _means(pattern, found.name, one_name(found.name)):
        return True
    wanted = None if any(sign in pattern for sign in _WILD) else read(one_name(pattern))
    return wanted is not None and reads_as(wanted, found)


def _means(pattern: str, model: str, name: str) -> bool:
    """Whether a match means an id by its one name."""
    words = _words(name)
    if not any(sign in pattern for sign in _WILD):
        wanted = one_name(pattern)
        if wanted == name or (is_family(wanted) and _words(wanted) <= words):
            return True
        # An id may leave the model to its client, or name a family only: then what is wanted of it is meant.
        return bool(_left_open(name) & _words(wanted)) or (is_family(name) and words <= _words(wanted))
    forms = _forms(identify(model), name)
    if any(glob_matches(each, form) for each in _patterns(pattern) for form in forms):
        return True
    # `bedrock/*` means a provider, whatever stands behind it.
    head, _, rest = pattern.rpartition("/")
    if head and not rest.strip("*"):
        return provider_of(head.rpartition("/")[2]) in providers_of(identify(model))
    said = _words(pattern.replace("*", "-").replace("?", "-").replace(" ", "-"))
    # Who writes `*opus*` speaks of Claude without saying so.
    said |= {"claude"} if said & _TIERS else frozenset()
    return bool(_left_open(name) & said) or (is_family(name) and words <= said)


def also_meant(match: str, aliases: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What a match means beside itself, by the names that the user gives models: both ways of an alias."""
    found: list[str] = []
    for alias, target in aliases:
        if means(match, target):
            found.append(alias)
        if same_model(match, alias):
            found.append(target)
    return tuple(dict.fromkeys(found))


def is_family(name: str) -> bool:
    """Whether a name is that of a family or a tier, which no model has for itself: `opus`, `claude-opus`, `gpt`."""
    words = name.split("-")
    return all(word in _FAMILIES for word in words)


def providers_of(identifier: Identifier) -> set[str]:
    """Providers under which a row may name an id: its channel, or where no channel is named, its maker."""
    if identifier.channel is not None:
        return {identifier.channel, provider_of(identifier.channel)}
    words = {word for word in (identifier.org, identifier.vendor) if word}
    return words | {provider_of(word) for word in words}


def glob_matches(pattern: str, text: str) -> bool:
    """Match `*` and `?` in linear memory and without backtracking further than the last star.

    >>> glob_matches("claude-opus-*", "claude-opus-4-7"), glob_matches("gpt-?", "gpt-55")
    (True, False)
    """
    p = t = kept = 0
    star = -1
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            # The last star alone takes more letters when something behind it does not fit: what an earlier one would
            # take, it can, too.
            star, kept, p = p, t, p + 1
        elif p < len(pattern) and pattern[p] in ("?", text[t]):
            p, t = p + 1, t + 1
        elif star >= 0:
            kept += 1
            p, t = star + 1, kept
        else:
            return False
    return all(c == "*" for c in pattern[p:])


def _folded(name: str) -> str:
    """What hosts write differently from the maker without meaning another model."""
    if name.startswith(_FIREWORKS):
        # `deepseek-v3p1` is `deepseek-v3.1` as its maker writes it: a `p` between digits stands for a point.
        name = re.sub(r"(?<=[0-9])p(?=[0-9])", ".", name.rsplit("/", 1)[-1])
    name = name.removeprefix("databricks-")
    words = [word for word in name.replace("_", "-").split("-") if word]
    if not words:
        return name
    if words[0] == "claude":
        return _folded_claude(words)
    if words[:2] == ["gpt", "35"]:  # Azure takes no dots
        words[1] = "3.5"
    if words[0].startswith("llama") and is_digits(words[0][5:6]):  # `llama3-3-70b` of Bedrock
        words[:1] = ["llama", words[0][5:]]
    return "-".join(words) if words[0] in _FAMILIES else name


def _folded_claude(words: list[str]) -> str:
    """Bedrock's revision, the size of the context and a `-0` that nobody else writes say nothing of the model."""
    last = words[-1].partition(":")[0]
    if len(words) > 3 and last[:1] == "v" and is_digits(last[1:]):
        words = words[:-1]
    if len(words) > 3 and words[-1] in ("1m", "200k"):
        words = words[:-1]
    words[-1] = words[-1].removesuffix(":1m")
    if len(words) == 4 and words[1] in _TIERS and is_digits(words[2]) and words[3] == "0":
        words = words[:3]
    return "-".join(words)


def _words(name: str) -> frozenset[str]:
    """The words of a name without the digits that some makers hang on: `qwen3-coder` says `qwen`."""
    for separator in ":/@._":
        name = name.replace(separator, "-")
    found = name.split("-")
    return frozenset(found) | {stem for word in found if (stem := word.rstrip("0123456789")) in _FAMILIES}


def _left_open(name: str) -> frozenset[str]:
    """The families of which a client takes one by itself, where that is all an id says."""
    return _CHOICES.get(name, frozenset())


def _patterns(pattern: str) -> tuple[str, ...]:
    """A pattern as it is written, and with what stands before its first sign as that is spelled in the one name.

    Nothing may be lost on the way: `gpt-5-high*` is not `gpt-5*`.
    """
    cut = min(at for sign in _WILD if (at := pattern.find(sign)) >= 0)
    head, tail = pattern[:cut], pattern[cut:]
    # Behind a sign there may be any host: nothing can be spelled there.
    if "/" in tail:
        return (pattern,)
    bare = identify(head.rstrip("-._ ") or "-")
    end = "-" if head.endswith(("-", "_", " ")) else ""
    name = one_name(bare.text)
    if name in _TIERS:
        return (pattern, f"claude-{name}{end}{tail}")
    # The same letters in another order are another spelling; fewer are a model that the pattern did not mean.
    letters = sorted(char for char in name if char.isalnum())
    said = sorted(char for char in bare.name if char.isalnum())
    if letters not in (said, sorted([*said, *"claude"])):
        return (pattern,)
    return (pattern, f"{name}{end}{tail}")


def _forms(identifier: Identifier, name: str) -> tuple[str, ...]:
    """What a pattern may be written for: the one name, alone and behind its maker, and every spelling."""
    scoped = f"{identifier.org}/{identifier.name}" if identifier.org else identifier.name
    maker = f"{identifier.vendor}/{name}" if identifier.vendor else name
    found = [name, maker, identifier.text, scoped, identifier.name, identifier.canonical, *identifier.spellings]
    words = name.split("-")
    if len(words) > 2 and words[0] == "claude" and words[1] == "3":  # the only ones that name their number first
        tier = next((word for word in words if word in _TIERS), None)
        if tier is not None:
            found.append("-".join(["claude", tier, *(word for word in words[1:] if word != tier)]))
    return tuple(dict.fromkeys(found))
