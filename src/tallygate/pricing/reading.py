"""Which model can be read from an id that nobody lists: what a budget for that model binds as well.

Deployments, proxies and people write ids as they like: `my-claude-opus-4-7-proxy`, `claudeopus47`, `gpt5.3-codex:eu`.
What an id leaves no doubt of is its family, its number and the words that make another model of it (`mini`, `flash`);
all else is somebody's own and says nothing. That is enough to bind a limit, since in doubt the gate is shut. It is
never enough for a price, which only the one name in `identity` decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tallygate.core.regex import regex
from tallygate.core.text import plain_letters
from tallygate.core.values import value
from tallygate.pricing.identifiers import is_digits
from tallygate.pricing.vendors import CHANNELS, GATEWAYS, VENDORS

_READ_MAX = 512
_TIERS = ("opus", "sonnet", "haiku", "fable", "mythos", "instant")
_O_SERIES = ("o1", "o3", "o4")
# Words that make another model of one of the same family and number, as makers and hosts use them.
_WORDS = {
    "claude": "opus sonnet haiku fable mythos instant",
    "gpt": (
        "chatgpt codex mini nano pro max spark audio image chat cyber deep research discovery embedding flare ft"
        " instruct jt large live luna nova moderation oss realtime rosalind safeguard search small sol sunburst"
        " terra text transcribe translate tts turbo vision whisper astra auto review"
    ),
    "gemini": (
        "argon banana embedding er flash image it lion lite live nano omni pro robotics sea streaming tts vision"
    ),
    "gemma": "it nano lion sea vision pro",
    "grok": "agent build code fast mini multi non reasoning think vision voice heavy",
    "deepseek": (
        "base chat chimera coder distill flash llama qwen ocr pro prover reasoner terminus vision zero instruct"
    ),
    "qwen": (
        "coder decentered embedding eva flash instruct it lion max mt next omni plus rpr sea thinking turbo vl qwq"
        " dottxt prime arliai small large"
    ),
    "llama": (
        "aion chat codellama deephermes dobby eva glimmer guard hermes instruct lumimaid maverick mini nano"
        " nemotron nous pro prompt reasoning scout shisa small solidity sonar spark specdec super swallow text tool"
        " typhoon ultra unhinged use versatile vision wayfarer wonder lite large plus online deepseek distill"
    ),
    "mistral": (
        "codestral devstral dolphin embed instruct large magistral mamba medium mini ministral mixtral nemo ocr"
        " openhermes openorca pixtral hermes nous realtime saba small snorkel tiny transcribe venice voxtral"
        " moderation"
    ),
    "kimi": "code dev highspeed instruct pro linear thinking turbo vl",
    "glm": "air airx assistant flash flashx legal long ocr plus rumination turbo code prime x",
    "minimax": "her highspeed text",
    "nemotron": "content lightning llama nano omni reasoning safety super ultra vl",
    "nova": "canvas embed lite micro premier pro reel sonic",
    "command": "a aya expanse light plus r r7b vision",
    "phi": "instruct medium mini multimodal plus reasoning silica small vision",
    "sonar": "deep pro reasoning research search",
    "jamba": "instruct large mini",
    "composer": "fast",
    "step": "flash",
}
_FAMILY_OF = {
    **{family: family for family in _WORDS},
    **dict.fromkeys(_TIERS[:5], "claude"),
    **dict.fromkeys(("qwq", "qvq"), "qwen"),
    **dict.fromkeys(("chatgpt", "codex", *_O_SERIES), "gpt"),
    **dict.fromkeys(("mixtral", "ministral", "codestral", "devstral", "magistral", "pixtral", "voxtral"), "mistral"),
}
# Names that are words of everyday as well: they name a family where nothing else does.
_EVERYDAY = frozenset({"nova", "command", "phi", "sonar", "composer", "step"})
_KNOWN = {family: frozenset((family, *words.split())) for family, words in _WORDS.items()}
# Who serves or makes a model says nothing of which it is.
_SERVED_BY = frozenset((*CHANNELS, *GATEWAYS, *VENDORS)) - _FAMILY_OF.keys()
# How fast or how hard a model works, and what was released of it: still the model that a limit is meant for.
_SPEEDS = frozenset({"fast", "priority", "flex", "batch"})
_HAVE_SPEEDS = frozenset({"claude", "gpt"})
_NUMBERED_V = frozenset({"deepseek", "mistral", "llama", "qwen"})
_RELEASES = frozenset({"preview", "exp", "experimental", "beta"})
# How hosts serve a model whose weights are open; and how large one is: a match that names no size is for all of them.
_TUNED = frozenset({"instruct", "it", "versatile"})
_ARE_TUNED = frozenset({"llama", "qwen", "gemma", "mistral"})
# Of these a size in the name makes another model.
_CLOSED = frozenset({"claude", "gemini"})
_SIZE = regex(r"[ae]?\d+(?:\.\d+)?b")
_ANYWHERE = ("claude", "chatgpt", "gemini", "sonnet", "haiku", "deepseek", "mistral", "codex")
_PARTS = sorted(
    {*_FAMILY_OF, "anthropic", "openai", "google", "mini", "nano", "flash", "lite", "pro", "turbo", "fast", "high",
     "low", "medium", "thinking", "chat", "coder", "max", "instruct"},
    key=len,
    reverse=True,
)  # fmt: skip


@value(frozen=True, slots=True)
class IdReading:
    """What is read of an id: words that make the model, and `soft` ones that only say how it works or is released.

    `strange` ones mean nothing to anybody but the writer.
    """

    words: frozenset[str]
    soft: frozenset[str]
    strange: frozenset[str]
    name: str

    @property
    def released(self) -> bool:
        """Whether one release is named: a snapshot or a preview."""
        return any(word[0].isdigit() or word in _RELEASES for word in self.soft)

    @property
    def whole(self) -> frozenset[str]:
        """All that is said of a model."""
        return self.words | self.soft


@lru_cache(maxsize=8192)
def read(text: str) -> IdReading | None:
    """What is read of an id; None where no family of models is named in it.

    >>> sorted(read("My Claude.Opus_4-7 (proxy)").words), read("auto")
    (['4.7', 'claude', 'opus'], None)
    """
    # The beginning says who serves it and the end which model: of an id of any length these are read.
    cut = text if len(text) <= 2 * _READ_MAX else f"{text[:_READ_MAX]}/{text[-_READ_MAX:]}"
    plain = plain_letters(cut)
    parts = [part for part in plain.split("/") if part]
    # The model stands last; what is before it may be a host that bears the name of a family.
    for part in reversed(parts):
        found = None if part is not parts[-1] and part in VENDORS else _read(list(_words(part)))
        if found is not None:
            return found
    return None


def reads_as(wanted: IdReading, found: IdReading) -> bool:
    """Whether an id read so may be the model that is wanted: it says all that is wanted, and nothing that differs."""
    sized = _sizes(wanted.words) or _CLOSED.intersection(wanted.words)
    said = found.words if sized else found.words - _sizes(found.words)
    same = wanted.words == said - wanted.soft and wanted.soft <= found.whole
    return same and wanted.strange <= found.strange


def _sizes(words: frozenset[str]) -> set[str]:
    return {word for word in words if _SIZE.fullmatch(word)}


def _read(words: list[str]) -> IdReading | None:
    families = [_FAMILY_OF[word] for word in words if word in _FAMILY_OF]
    if not families:
        return None
    families = [family for family in families if family not in _EVERYDAY] or families[:1]
    known = frozenset[str]().union(*(_KNOWN[family] for family in families))
    kept: list[str] = []
    soft: set[str] = set()
    strange: set[str] = set()
    before = ""
    for each in words:
        word = each[1:] if "claude" in families and len(each) == 2 and is_digits(each) and each[0] == "0" else each
        if each[0] == "v" and is_digits(each[1:]) and not _NUMBERED_V.intersection(families):
            word = "" if any(map(_is_number, kept)) else each[1:]  # `v1` of a wrapper, or `claude-opus-v4.7`
        if word in _TUNED and _ARE_TUNED.intersection(families):
            soft.add(word)
        elif _FAMILY_OF.get(word) in families or word in known or _is_variant(word, known):
            kept.append(word)
        elif is_digits(word) and 3 <= len(word.lstrip("0")) + 2 * (word[0] == "0") <= 7:
            soft.add(word)  # a snapshot: `0905`, `002`, `05-20`
        elif is_digits(word):
            _number(word, before, kept)
        elif word in _RELEASES or (word in _SPEEDS and _HAVE_SPEEDS.intersection(families)):
            soft.add(word)
        elif word and word not in _SERVED_BY:
            strange.add(word)
        before = word
    if "codex" in kept and "gpt" not in kept and any(map(_is_number, kept)):
        kept = ["gpt", *(w for w in kept if _is_number(w)), *(w for w in kept if not _is_number(w))]
    if set(_TIERS[:5]).intersection(kept) and "claude" not in kept:
        kept.insert(0, "claude")
    kept = list(dict.fromkeys(word.removesuffix(".0") if _is_number(word) else word for word in kept))
    return IdReading(frozenset(kept), frozenset(soft), frozenset(strange), "-".join(kept))


def _number(word: str, before: str, kept: list[str]) -> None:
    """Add a version's digits to what is kept: `4`, `7` and `47` behind a family are 4.7.

    Dates are not kept, nor numbers of what is somebody's own (`my-proxy-2-claude`).
    """
    # Three digits and more are a date, a build or a size of context.
    if len(word) > 2 or not kept:
        return
    if before in _FAMILY_OF and len(word) == 2 and (word[1] != "0" or _FAMILY_OF[before] == "claude"):
        kept.append(f"{word[0]}.{word[1]}")
    elif is_digits(kept[-1]) and is_digits(before):
        kept[-1] = f"{kept[-1]}.{word}"
    elif before == kept[-1]:
        kept.append(word)


def _words(text: str) -> Iterator[str]:
    """The words of an id, glued ones taken apart where a family or digits show how."""
    word = ""
    for char in f"{text} ":
        if char.isalnum() and char.isascii():
            word += char
        elif word:
            yield from _apart(word)
            word = ""


def _apart(word: str) -> Iterator[str]:
    """`claudeopus47` as claude, opus, 47; `gpt4o` as gpt, 4o; `70b` and `k2` stay what they are."""
    if word in _O_SERIES or word in _FAMILY_OF:
        yield word
        return
    runs = _runs(word)
    if len(runs) in (3, 4) and runs[-2] == "p" and len(runs[0]) <= 2:  # `k2p5`: a `p` stands for a point
        yield from ("".join(runs[:-2]), runs[-1])
        return
    if len(runs) == 1:
        yield from _glued(word) if word.isalpha() else (word,)
        return
    parts = [list(_glued(run)) if run.isalpha() else [run] for run in runs]
    if not any(part in _FAMILY_OF for each in parts for part in each):
        yield word
        return
    at = 0
    while at < len(parts):
        size = at + 1 < len(parts) and is_digits(runs[at]) and len(runs[at + 1]) == 1 and runs[at + 1].isalpha()
        if size:
            yield runs[at] + runs[at + 1]
            at += 2
        else:
            yield from parts[at]
            at += 1


def _runs(word: str) -> list[str]:
    """A word cut wherever letters and digits meet."""
    runs = [word[0]]
    for char in word[1:]:
        if char.isdigit() == runs[-1][-1].isdigit():
            runs[-1] += char
        else:
            runs.append(char)
    return runs


def _glued(letters: str) -> Iterator[str]:
    """Letters without a gap as the words they are put together from, or with what family stands among them."""
    rest, found = letters, []
    while rest:
        part = next((each for each in _PARTS if rest.startswith(each)), None)
        if part is None:
            break
        found.append(part)
        rest = rest[len(part) :]
    if not rest and len(found) > 1:
        yield from found
        return
    inside = [each for each in _ANYWHERE if each in letters and each != letters]
    if "claude" in inside:
        inside += [tier for tier in _TIERS[:5] if tier in letters and tier not in inside]
    yield from inside
    yield letters


def _is_variant(word: str, known: frozenset[str]) -> bool:
    """Whether letters with digits make another model: sizes (`70b`), `4o`, `r1`, `k2`."""
    if not word or word.isalpha() or is_digits(word):
        return False
    if word[0].isdigit():
        return True
    stem = word.rstrip("0123456789")
    if stem in known:
        return True
    return stem.isalpha() and len(stem) <= 2


def _is_number(word: str) -> bool:
    return is_digits(word.replace(".", ""))
