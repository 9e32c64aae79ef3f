"""Other spellings of a model's name, and what an id's leftover says about the price beside it.

Pure string work without regular expressions, since ids are hostile. Version digits and `-fast` are never
taken off, because they are other prices.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from tallygate.pricing.vendors import family_and_vendor

NAME_STEPS_MAX = 256
_EFFORTS = ("-high", "-medium", "-low", "-xhigh", "-minimal", "-thinking", ":thinking", "-nothinking")
_EFFORT_FAMILIES = frozenset({"claude", "gpt", "gemini", "grok"})
_NEUTRAL_TAGS = ("@default", "@latest", ":beta", ":latest", "-latest")
_CLAUDE_TIERS = ("opus", "sonnet", "haiku", "fable", "mythos", "instant")
_DOTTED_FAMILIES = frozenset({"gpt", "gemini", "grok", "glm", "kimi", "qwen", "minimax", "step", "llama"})
# Words that name a dearer variant of the model before them: such an id must not take the plain model's price.
_DEARER = frozenset(
    ("fast", "turbo", "priority", "highspeed", "ultrafast", "pro", "max", "ultra", "mega", "plus", "large")
)


class Rest(Enum):
    """What the part of an id that a catalog entry leaves over says about the entry's price."""

    NOTHING = "nothing"
    UNSURE = "unsure"
    OTHER_MODEL = "other model"


def judge_rest(rest: str, anchor: str, model_family: str) -> Rest:
    """What an entry that matched `anchor` leaves over: a date is nothing, a digit another model."""
    if not rest or _is_neutral(rest, model_family):
        return Rest.NOTHING
    if rest[0].isalnum() or anchor.endswith(("-", ".")):
        # The anchor stops inside a word. Only a date may be cut like that: `-2025` + `0514`.
        start = len(anchor)
        for _ in range(3):
            start = anchor.rfind("-", 0, start)
            if start < 0:
                break
            if _is_neutral(anchor[start:] + rest, model_family):
                return Rest.NOTHING
        return Rest.OTHER_MODEL
    words = _words(rest)
    if not words or _DEARER.intersection(words):
        return Rest.OTHER_MODEL
    if not words[0][0].isdigit():
        return Rest.UNSURE
    # Snapshots such as `0905`, `2512`, `05-20`, `11-2026`: likely the same price, not surely.
    if len(words[0]) == 4:
        is_snapshot = is_digits(words[0])
    else:
        numbers = [word for word in words if is_digits(word)]
        is_snapshot = words[:2] == numbers and len(words[0]) == 2 and len(words[1]) in (2, 4)
    return Rest.UNSURE if is_snapshot else Rest.OTHER_MODEL


def spellings(name: str) -> Iterator[str]:
    """Names to look for, the literal one first; repeats are left to the caller."""
    for base in dict.fromkeys((name, spelled(name), _stripped(name), _stripped(spelled(name)))):
        yield base
        dashed = _claude_dashed(base)
        yield dashed
        if dashed.startswith("claude-"):  # `claude-opus-4-7` as Copilot and OpenRouter list it
            yield _dotted(dashed)
        yield _with_dot(base)


def canonical_name(name: str) -> str:
    """The one spelling that a name shares with all other ways of writing it."""
    for _ in range(NAME_STEPS_MAX):
        shorter = _with_dot(_claude_dashed(_stripped(spelled(name))))
        if shorter == name:
            break
        name = shorter
    return name


def spelled(name: str) -> str:
    """`Claude Opus 4.7` and `claude_opus_4.7` as ids are written."""
    return "-".join(name.replace("_", " ").split()) if " " in name or name.startswith(_UNDERSCORED) else name


_UNDERSCORED = ("claude_", "gpt_", "gemini_")


def _claude_dashed(name: str) -> str:
    """`claude-opus-4.7`, `claude-4.7-opus`, `opus-4-7` as `claude-opus-4-7`; Claude 3 keeps its own order."""
    words = name.replace(".", "-").split("-")
    if words[0] in _CLAUDE_TIERS[:3] and len(words) > 1 and is_digits(words[1]):
        words.insert(0, "claude")
    if words[0] != "claude" or len(words) < 3:
        return name
    tier = next((word for word in words[1:4] if word in _CLAUDE_TIERS), None)
    if tier is None:
        return name
    rest = [word for i, word in enumerate(words[1:], 1) if i != words.index(tier)]
    count = next((i for i, word in enumerate(rest) if not is_digits(word) or len(word) > 2), len(rest))
    version, tail = rest[: min(count, 2)], rest[min(count, 2) :]
    first = [*version, tier] if version and version[0] == "3" else [tier, *version]
    return "-".join(["claude", *first, *tail])


def _with_dot(name: str) -> str:
    """`gemini-2-5-pro` as `gemini-2.5-pro`: two single digits in a row are one version."""
    return _dotted(name) if family_and_vendor(name)[0] in _DOTTED_FAMILIES else name


def _dotted(name: str) -> str:
    words = name.split("-")
    for i in range(1, len(words) - 1):
        if all(len(word) == 1 and is_digits(word) for word in words[i : i + 2]):
            return "-".join([*words[:i], f"{words[i]}.{words[i + 1]}", *words[i + 2 :]])
    return name


def _stripped(name: str) -> str:
    """Take dates, efforts and context marks off the end, as long as something is left."""
    model_family = family_and_vendor(name)[0]
    while (shorter := _strip_one(name, model_family)) and shorter != name:
        name = shorter
    return name


def _strip_one(name: str, model_family: str) -> str:
    if name.endswith(("k]", "m]")) and is_digits(name[name.rfind("[") + 1 : -2]):
        return name[: name.rfind("[")]
    endings = _NEUTRAL_TAGS + (_EFFORTS if model_family in _EFFORT_FAMILIES else ())
    for ending in endings:
        if name.endswith(ending):
            return name[: -len(ending)]
    for size in (8, 10):
        if len(name) > size and name[-size - 1] in "-@" and _is_date(name[-size:]):
            return name[: -size - 1]
    if model_family == "gemini" and name[-4:-1] in ("-00", "@00") and is_digits(name[-1]):
        return name[:-4]
    return name


def _is_neutral(rest: str, model_family: str) -> bool:
    while rest:
        shorter = _strip_one(rest, model_family)
        if shorter == rest:
            return False
        rest = shorter
    return True


def _is_date(text: str) -> bool:
    if len(text) == 10 and text[4] == "-" and text[7] == "-":
        text = text.replace("-", "")
    return (
        len(text) == 8
        and is_digits(text)
        and 2020 <= int(text[:4]) <= 2039
        and 1 <= int(text[4:6]) <= 12
        and 1 <= int(text[6:]) <= 31
    )


def _words(rest: str) -> list[str]:
    for separator in ":@[]=()/_ ":
        rest = rest.replace(separator, "-")
    return [word for word in rest.split("-") if word]


def claude_version(name: str) -> tuple[int, int] | None:
    """Version of a Claude name: `claude-opus-4-7` is (4, 7)."""
    numbers = [int(word) for word in name.split("-")[1:] if is_digits(word) and len(word) <= 2]
    if not numbers:
        return None
    return numbers[0], (numbers[1] if len(numbers) > 1 else 0)


def is_digits(text: str) -> bool:
    """Whether all is 0 to 9; other scripts' digits are letters of a name here."""
    return text.isascii() and text.isdigit()
