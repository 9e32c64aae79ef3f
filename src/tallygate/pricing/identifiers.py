"""What a model id says: who serves it, who made it, the names it may be listed under and their other spellings.

Ids come from agents and are hostile until read: everything here is pure, looks at 256 characters at most and
uses no regular expression. Version digits and `-fast` are never taken off, because they are other prices.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from tallygate.core.values import value
from tallygate.pricing import vendors

# --- spelling --------------------------------------------------------------------------------------------------------
# Other spellings of a model's name, and what an id's leftover says about the price beside it.


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
    # Two digits at most are a version; a longer number is the day it was built.
    count = next((i for i, word in enumerate(rest) if not is_digits(word) or len(word) > 2), len(rest))
    version, tail = rest[: min(count, 2)], rest[min(count, 2) :]
    first = [*version, tier] if version and version[0] == "3" else [tier, *version]
    return "-".join(["claude", *first, *tail])


def _with_dot(name: str) -> str:
    """`gemini-2-5-pro` as `gemini-2.5-pro`: two single digits in a row are one version."""
    return _dotted(name) if vendors.family_and_vendor(name)[0] in _DOTTED_FAMILIES else name


def _dotted(name: str) -> str:
    words = name.split("-")
    for i in range(1, len(words) - 1):
        if all(len(word) == 1 and is_digits(word) for word in words[i : i + 2]):
            return "-".join([*words[:i], f"{words[i]}.{words[i + 1]}", *words[i + 2 :]])
    return name


def _stripped(name: str) -> str:
    """Take dates, efforts and context marks off the end, as long as something is left."""
    model_family = vendors.family_and_vendor(name)[0]
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
    # 20250929 or 2025-09-29.
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


# --- identifiers -----------------------------------------------------------------------------------------------------
# What a model id says: who serves it, who made it, and the names it may be listed under.


ID_LENGTH_MAX = 256
# What agents write where any model of a local Ollama is meant.
OLLAMA_LOCAL = "ollama-local"
_AZURE_GEOS = frozenset(("us", "eu", "global", "global-standard"))
SHOWN_LENGTH_MAX = 80


@value(frozen=True, slots=True)
class Identifier:
    """A model id taken apart; `spellings` are the names to look for, the literal one first."""

    text: str
    name: str
    spellings: tuple[str, ...]
    canonical: str
    family: str
    vendor: str | None
    channel: str | None = None
    org: str | None = None
    geo: str | None = None
    local: bool = False
    free: bool = False
    gateway: str | None = None
    opaque: str | None = None


def shown(text: str) -> str:
    """An id from outside made fit for a message: control characters escaped, 80 characters at most."""
    cut = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: SHOWN_LENGTH_MAX + 1])
    return cut if len(cut) <= SHOWN_LENGTH_MAX else cut[: SHOWN_LENGTH_MAX - 3] + "..."


def identify(model: str, local_channels: tuple[str, ...] = vendors.LOCAL_CHANNELS) -> Identifier:
    """Take a model id apart. Never raises: what cannot be read comes back `opaque`, which is unknown."""
    if not model.strip():
        return _opaque("", "the model id is empty")
    if len(model) > ID_LENGTH_MAX:
        return _opaque(model[:ID_LENGTH_MAX], f"the model id is longer than {ID_LENGTH_MAX} characters")
    if not model.isprintable():
        return _opaque(model, "the model id contains control characters")
    text = model.strip().lower()
    channel, org, rest, reason = _path(text, local_channels)
    if reason is not None:
        return _opaque(text, reason)
    geo, dotted_org, name = _bedrock(rest)
    if channel == "azure" and org in _AZURE_GEOS:
        geo, org = org, None  # azure/us/gpt-5: a data zone, not a maker
    if dotted_org is not None:
        channel, org = channel or "aws", dotted_org
    if channel == "aws":
        base = _without_bedrock_revision(name)
    else:  # ft:gpt-4o-2024-08-06:acme::abc costs what every fine-tune of its base costs
        base = ":".join(name.split(":")[:2]) if name.startswith("ft:") else name
    runs_locally = channel is not None and channel in local_channels
    if channel is None and org in (None, "library") and (name == OLLAMA_LOCAL or _is_ollama_tag(name)):
        runs_locally, channel = True, "ollama"
    local = runs_locally and not vendors.is_closed(name) and not name.endswith("cloud")
    plain = base.removesuffix(":free") or base
    family, vendor = vendors.family_and_vendor(spelled(plain))
    return Identifier(
        text=text,
        name=name,
        spellings=tuple(dict.fromkeys((name, *spellings(plain)))),
        canonical=canonical_name(plain),
        family=family,
        vendor=vendor or (org if org in vendors.VENDORS else None),
        channel=None if runs_locally and not local and vendors.is_closed(name) else channel,
        org=org,
        geo=geo,
        local=local,
        free=plain != base,
        gateway=next((part for part in text.split("/")[:-1] if part in vendors.CLIENT_GATEWAYS), None),
    )


def canonical(model: str) -> str:
    """One spelling for all ids of a model, whatever prefix, date, effort or dots they are written with."""
    name = model
    for _ in range(ID_LENGTH_MAX):
        identifier = identify(name)
        if identifier.canonical == name:
            break
        name = identifier.canonical
    return name


def family(model: str) -> str:
    """Vendor family of an id, for token counts; Claude from 4.7 on counts differently and is `claude-4.7`."""
    identifier = identify(model)
    if identifier.family != "claude":
        return identifier.family
    version = claude_version(identifier.canonical)
    return "claude" if version is not None and version < (4, 7) else "claude-4.7"


def _opaque(text: str, reason: str) -> Identifier:
    return Identifier(text, text, (), text, "other", None, opaque=reason)


def _path(text: str, local_channels: tuple[str, ...]) -> tuple[str | None, str | None, str, str | None]:
    """Split prefixes off: (channel, org, name, why it cannot be read)."""
    channel: str | None = None
    org: str | None = None
    arn = text.find("arn:")
    if arn == 0 or (arn > 0 and text[arn - 1] == "/"):
        kind, _, resource = text[arn:].rpartition(":bedrock:")[2].rpartition("/")
        kind = kind.rsplit(":", 1)[-1]
        if kind not in ("foundation-model", "inference-profile") or not resource:
            return None, None, text, "the ARN names a profile or resource, not a model"
        return "aws", None, resource, None
    if text.startswith(("@cf/", "accounts/fireworks/")):
        return ("cloudflare" if text[0] == "@" else "fireworks"), None, text, None
    head, colon, tail = text.partition(":")
    is_provider = (
        head in local_channels or head in vendors.CHANNELS or head in vendors.GATEWAYS or head in vendors.VENDORS
    )
    if colon and tail and "/" not in head and is_provider:
        text = f"{head}/{tail}"
    parts = [part for part in text.split("/") if part]
    if not parts:
        return None, None, text, "the model id names no model"
    *prefixes, name = parts
    for prefix in prefixes:
        if prefix == "models" and org is not None:
            continue
        if channel is None and prefix in local_channels:
            channel = prefix
        elif channel is None and prefix in vendors.GATEWAYS:
            continue
        elif channel is None and org is None and prefix in vendors.CHANNELS:
            channel = vendors.CHANNELS[prefix]
        elif channel == "huggingface" and org is None and f"huggingface_{prefix}" in _HUGGINGFACE_HOSTS:
            channel = f"huggingface_{prefix}"
        else:
            org = prefix.lstrip("~")
    # `claude-opus-4-7@20260101` is how Google writes the model of a date; at the start the sign says nothing of a host.
    if "@" in name[1:] and channel is None and org in (None, "anthropic", "google"):
        channel = "google"
    return channel, (None if channel == "aws" and org not in vendors.VENDORS else org), name, None


_HUGGINGFACE_HOSTS = frozenset(
    f"huggingface_{host}"
    for host in ("cerebras", "fireworks-ai", "groq", "hyperbolic", "nebius", "novita", "nscale", "ovhcloud",
                 "publicai", "sambanova", "together")
)  # fmt: skip


def provider_of(word: str) -> str:
    """The name under which settings and ids agree on a provider: `bedrock` and `aws` are one."""
    lowered = word.strip().lower()
    vendor = vendors.VENDORS.get(lowered)
    return vendors.CHANNELS.get(lowered) or (vendor.provider if vendor and vendor.provider else lowered)


def _bedrock(name: str) -> tuple[str | None, str | None, str]:
    """Take `us.` and `anthropic.` off a Bedrock model name: (geo, vendor, name)."""
    first, dot, rest = name.partition(".")
    geo = first if dot and first in vendors.BEDROCK_GEOS else None
    body = rest if geo is not None else name
    org, dot, rest = body.partition(".")
    if dot and rest and org in vendors.BEDROCK_VENDORS:
        return geo, org, rest
    return None, None, name


def _without_bedrock_revision(name: str) -> str:
    """`-v1:0` and `-v1:0:200k` number the Bedrock wrapper, not the model."""
    head, mark, tail = name.rpartition("-v")
    if not mark or not head:
        return name
    pieces = tail.split(":")
    numbers = [piece.removesuffix("k") for piece in pieces]
    return head if len(pieces) <= 3 and all(is_digits(number) for number in numbers) else name


def _is_ollama_tag(name: str) -> bool:
    """`llama3.3:70b`: a bare name with a size, a quantisation or `latest` behind a colon runs locally."""
    base, colon, tag = name.partition(":")
    if not colon or not base or not tag:
        return False
    size = tag.replace("_", "-").split("-")[0]
    # `latest` stands behind anything; only where a family of models is before it is it one that runs here.
    if size == "latest":
        return vendors.family_and_vendor(base)[0] != "other"
    digits = size[:-1].lstrip("ea").replace("x", "").replace(".", "")
    return (size.endswith(("b", "m")) and is_digits(digits)) or (size[:1] == "q" and is_digits(size[1:2]))
