"""What the bundled list does not say, or says too late: rows and rules of our own, each with its source and date.

A row stands in front of the list for its own maker or host alone; the list is right about everything else.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from tallygate.core.values import value
from tallygate.pricing.overrides import PriceOverride

# In front of the list. The list keeps the rates that two retired names of DeepSeek had before September 2025.
CORRECTED_PRICES: tuple[PriceOverride, ...] = (
    *(
        row
        for name in ("deepseek-chat", "deepseek-reasoner")
        for row in (
            # https://api-docs.deepseek.com/news/news250929 (V3.2-Exp, read 2026-11)
            PriceOverride(
                match=name,
                provider="deepseek",
                input=Decimal("0.28"),
                output=Decimal("0.42"),
                cache_read=Decimal("0.028"),
                valid_from=date(2025, 9, 29),
                valid_to=date(2026, 4, 24),
                note="DeepSeek V3.2",
            ),
            # Both names meant V4 Flash from its release until they were retired on 2026-07-24
            # (https://api-docs.deepseek.com/quick_start/pricing, read 2026-11).
            PriceOverride(
                match=name,
                provider="deepseek",
                input=Decimal("0.14"),
                output=Decimal("0.28"),
                cache_read=Decimal("0.0028"),
                valid_from=date(2026, 4, 24),
                note="DeepSeek V4 Flash; retired 2026-07-24",
            ),
        )
    ),
    # https://www.together.ai/pricing (read 2026-11); the list still has 0.88.
    PriceOverride(
        match="meta-llama/llama-3.3-70b-instruct-turbo",
        provider="together",
        input=Decimal("1.04"),
        output=Decimal("1.04"),
        valid_from=date(2026, 6, 1),
    ),
)

# Behind the list. Step 3.6 Flash is in none; of its neighbours 3.5 (0.10/0.30) and 3.7 (0.20/1.15) the dearer counts.
MISSING_PRICES: tuple[PriceOverride, ...] = (
    PriceOverride(
        match="step-3.6-flash",
        input=Decimal("0.20"),
        output=Decimal("1.15"),
        cache_read=Decimal("0.04"),
        note="No catalog lists Step 3.6 Flash; priced as Step 3.7 Flash, its dearer neighbour (2026-11).",
        approximate=True,
    ),
)

# Short names under which people know a model that catalogs list in full.
SHORT_NAMES: dict[str, str] = {
    "llama-3.3-70b": "meta-llama/llama-3.3-70b-instruct",
    "qwen-2.5": "qwen/qwen-2.5-72b-instruct",
    "qwen-2.5-72b": "qwen/qwen-2.5-72b-instruct",
    "deepseek-r1": "deepseek/deepseek-r1",
}

# Codex names its reviewer, never the model behind it: what Codex itself ran on at the time
# (https://developers.openai.com/codex/changelog). Until 2026-04 its source named gpt-5.4 for reviews
# (https://github.com/openai/codex/pull/18169); nothing newer is published.
DATED_NAMES: dict[str, tuple[tuple[date, str], ...]] = {
    "codex-auto-review": (
        (date(2025, 8, 7), "gpt-5"),
        (date(2025, 9, 15), "gpt-5-codex"),
        (date(2025, 11, 13), "gpt-5.1-codex"),
        (date(2026, 1, 14), "gpt-5.2-codex"),
        (date(2026, 2, 5), "gpt-5.3-codex"),
        (date(2026, 3, 5), "gpt-5.4"),
    )
}


@value(frozen=True, slots=True)
class LongContext:
    """From how many tokens of context on a model costs so many hundredths of its input and output rates."""

    above_tokens: int
    input_percent: int
    output_percent: int


# Long-context rates that the list leaves out, by provider and id.
LONG_CONTEXT: dict[tuple[str, str], LongContext] = {
    # https://platform.claude.com/docs/en/build-with-claude/context-windows: the 1M beta, until 2026-04-30.
    ("anthropic", "claude-sonnet-4-0"): LongContext(200_000, 200, 150),
    # https://developers.openai.com/api/docs/pricing (read 2026-11): above 272K the whole request, as for GPT-5.6.
    ("openai", "gpt-5.5-cyber"): LongContext(272_000, 200, 150),
    ("openai", "gpt-5.6-cyber"): LongContext(272_000, 200, 150),
}
# Who serves other makers' models at those makers' long-context rates, whether or not the list has them there.
RESELLERS = frozenset({"aws", "google", "azure"})

# Batches cost half of the standard rates: https://platform.claude.com/docs/en/build-with-claude/batch-processing,
# https://developers.openai.com/api/docs/guides/batch, https://ai.google.dev/gemini-api/docs/batch-api (read 2026-11).
HALF_IN_BATCHES = frozenset({"anthropic", "openai", "google", "mistral"})

# `inference_geo: "us"` costs a tenth more from Claude 4.6 on (https://platform.claude.com/docs/en/about-claude/pricing).
US_ONLY_SINCE = (4, 6)
# Data zones of Azure cost a tenth more (https://azure.microsoft.com/pricing/details/cognitive-services/openai-service).
AZURE_ZONES = frozenset({"us", "eu"})
