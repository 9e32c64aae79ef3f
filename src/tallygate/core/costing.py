"""What a call costs: token classes, rates and the price that names where it came from."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import lru_cache

from tallygate.core.money import cost_nanos, rounded_cost_nanos
from tallygate.core.proof import canonical_bytes
from tallygate.core.values import value

ASSUMED = "assumed"


class Certainty(StrEnum):
    """How sure a price is: listed for this very model, taken from its nearest relative, or assumed."""

    KNOWN = "known"
    APPROXIMATE = "approximate"
    ASSUMED = "assumed"


@value(frozen=True, slots=True)
class Split:
    """How much of a sum rests on prices that are not known for the very model; the rest of it is known."""

    approximate_nanos: int = 0
    assumed_nanos: int = 0

    def __add__(self, other: Split) -> Split:
        return Split(self.approximate_nanos + other.approximate_nanos, self.assumed_nanos + other.assumed_nanos)

    @property
    def unsure_nanos(self) -> int:
        return self.approximate_nanos + self.assumed_nanos

    def within(self, total_nanos: int) -> Split:
        """The same of a sum that may be smaller, as where something was taken back since."""
        assumed = max(min(self.assumed_nanos, total_nanos), 0)
        return Split(max(min(self.approximate_nanos, total_nanos - assumed), 0), assumed)

    @staticmethod
    def of(certainty: Certainty, nanos: int) -> Split:
        """An amount whose price is so sure."""
        return Split(
            approximate_nanos=nanos if certainty is Certainty.APPROXIMATE else 0,
            assumed_nanos=nanos if certainty is Certainty.ASSUMED else 0,
        )


SURE = Split()


@value(frozen=True, slots=True)
class Terms:
    """How a response was served, as far as that moves its price: each as the provider's own word, None where unsaid.

    `tier` is a service tier (`priority`, `fast`, `flex`, `batch`), `geo` where it had to be served. `stated_free` is
    whether the client or the provider states a price of nothing; False where it states one above nothing. `here` says
    that the client's record, or the user, has it served by a runtime on this machine.
    """

    tier: str | None = None
    geo: str | None = None
    stated_free: bool | None = None
    here: bool = False


STANDARD = Terms()
SERVED_HERE = Terms(here=True)
# What runs models on a user's own machine, as clients call who serves a model.
LOCAL_RUNTIMES = (
    "ollama", "ollama_chat", "lmstudio", "lm_studio", "lm-studio", "vllm", "hosted_vllm", "llama.cpp",
    "llamacpp", "llama_cpp", "llama-cpp", "llamafile", "local", "localai", "local-ai", "gpt4all", "mlx",
    "jan",
)  # fmt: skip


def is_local_runtime(provider: str | None) -> bool:
    """Whether who serves a model is a runtime on the user's own machine."""
    return provider is not None and provider.lower() in LOCAL_RUNTIMES


@value(frozen=True, slots=True)
class Tokens:
    """Counts of one or more responses in disjoint classes; `output` contains reasoning."""

    fresh_input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def context(self) -> int:
        """Everything the model read: what long-context thresholds look at."""
        return self.fresh_input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def total(self) -> int:
        return self.fresh_input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.output

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.fresh_input + other.fresh_input,
            self.cache_read + other.cache_read,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
            self.output + other.output,
        )


@value(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million tokens of each class; rates, not multipliers, since those differ by model."""

    input_nanos: int
    output_nanos: int
    cache_read_nanos: int
    cache_write_5m_nanos: int
    cache_write_1h_nanos: int


@value(frozen=True, slots=True)
class ContextTier:
    """Rates that replace the base rates for the whole request once its context is above a size."""

    above_context_tokens: int
    rates: Rates


@value(frozen=True, slots=True)
class Price:
    """Rates of one model at one time, with the basis that is stored beside every cost.

    `source` is `override`, `local`, `assumed`, or the catalog's name; `key` is the id the source knows the
    model by; `valid_from` is an ISO date where the source dates its rates; `warning` says what was guessed.
    """

    key: str
    rates: Rates
    source: str
    version: str
    tiers: tuple[ContextTier, ...] = ()
    per_request_nanos: int = 0
    per_search_nanos: int = 0
    valid_from: str | None = None
    approximate: bool = False
    known: bool = True
    warning: str | None = None

    @property
    def certainty(self) -> Certainty:
        """How sure the price is; whatever was put together without a listed model is assumed."""
        return certainty_of(self.source, known=self.known, approximate=self.approximate)

    def rates_for(self, context_tokens: int) -> Rates:
        """The rates of a request that reads this many tokens: the highest tier it is above."""
        best: ContextTier | None = None
        for tier in self.tiers:
            # Above the threshold the whole request has the tier's rates, not only what is beyond it.
            if context_tokens > tier.above_context_tokens and (
                best is None or tier.above_context_tokens > best.above_context_tokens
            ):
                best = tier
        return best.rates if best is not None else self.rates

    def cost_nanos(self, tokens: Tokens) -> int:
        """Cost of one request in nano-dollars, rounded up once."""
        rates = self.rates_for(tokens.context) if self.tiers else self.rates
        total = (
            tokens.fresh_input * rates.input_nanos
            + tokens.cache_read * rates.cache_read_nanos
            + tokens.cache_write_5m * rates.cache_write_5m_nanos
            + tokens.cache_write_1h * rates.cache_write_1h_nanos
            + tokens.output * rates.output_nanos
        )
        return rounded_cost_nanos(total, self.per_request_nanos)


def certainty_of(source: str, *, known: bool, approximate: bool) -> Certainty:
    """How sure a price is, by what is kept of it."""
    if source == ASSUMED:
        return Certainty.ASSUMED
    return Certainty.APPROXIMATE if approximate or not known else Certainty.KNOWN


def at_rates(rates: Rates, tokens: Tokens) -> int:
    """What tokens cost at some rates, whatever the size of their context."""
    return cost_nanos(
        [
            (tokens.fresh_input, rates.input_nanos),
            (tokens.cache_read, rates.cache_read_nanos),
            (tokens.cache_write_5m, rates.cache_write_5m_nanos),
            (tokens.cache_write_1h, rates.cache_write_1h_nanos),
            (tokens.output, rates.output_nanos),
        ]
    )


# --- basis -----------------------------------------------------------------------------------------------------------
# The price basis kept beside every cost, so that history keeps its value when the price table moves.


@lru_cache(maxsize=512)
def basis_of(price: Price) -> tuple[str, str]:
    """Id and JSON text of a price's basis; the time it was asked for is that of the call it stands beside."""
    body: dict[str, object] = {
        "key": price.key,
        "source": price.source,
        "version": price.version,
        "known": price.known,
        "approximate": price.approximate,
        "rates": _rates(price.rates),
    }
    if price.tiers:
        body["tiers"] = [{"above_context_tokens": t.above_context_tokens, **_rates(t.rates)} for t in price.tiers]
    if price.per_request_nanos:
        body["per_request_nanos"] = price.per_request_nanos
    if price.per_search_nanos:
        body["per_search_nanos"] = price.per_search_nanos
    if price.valid_from:
        body["valid_from"] = price.valid_from
    raw = canonical_bytes(body)
    return hashlib.sha256(raw).hexdigest()[:16], raw.decode()


def _rates(rates: Rates) -> dict[str, int]:
    return {
        "input_nanos": rates.input_nanos,
        "output_nanos": rates.output_nanos,
        "cache_read_nanos": rates.cache_read_nanos,
        "cache_write_5m_nanos": rates.cache_write_5m_nanos,
        "cache_write_1h_nanos": rates.cache_write_1h_nanos,
    }
