"""Model ids as clients really write them, with the price in dollars per million that each must get."""

from __future__ import annotations

from datetime import UTC, datetime

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

OPUS_47, SONNET_45, SONNET_46, HAIKU_45 = ("5", "25"), ("3", "15"), ("3", "15"), ("1", "5")
REGIONAL_OPUS_47, REGIONAL_SONNET_45, REGIONAL_HAIKU_45 = ("5.5", "27.5"), ("3.3", "16.5"), ("1.1", "5.5")

# Ids whose price is certain: no warning, not approximate.
CERTAIN: dict[str, tuple[str, str]] = {
    "claude-opus-4-7": OPUS_47,
    "claude-opus-4.7": OPUS_47,
    "Claude-Opus-4.7": OPUS_47,
    "Claude Opus 4.7": OPUS_47,
    "claude-4.7-opus": OPUS_47,
    "claude-4-7-opus": OPUS_47,
    "opus-4.7": OPUS_47,
    "claude-opus-4-7-20260416": OPUS_47,
    "claude-opus-4-7@20260416": OPUS_47,
    "claude-opus-4-7@default": OPUS_47,
    "claude-opus-4-7[1m]": OPUS_47,
    "claude-opus-4-7-high": OPUS_47,
    "claude-opus-4.7-thinking": OPUS_47,
    "anthropic/claude-opus-4.7": OPUS_47,
    "anthropic/claude-opus-4-7": OPUS_47,
    "openrouter/anthropic/claude-opus-4.7": OPUS_47,
    "openrouter/anthropic/claude-opus-4-7": OPUS_47,
    "github_copilot/claude-opus-4.7": OPUS_47,
    "github_copilot/claude-opus-4-7": OPUS_47,
    "vertex_ai/claude-opus-4-7@20260416": OPUS_47,
    "google-vertex-anthropic/claude-opus-4-7@default": OPUS_47,
    "azure_ai/claude-opus-4-7": OPUS_47,
    "litellm_proxy/anthropic/claude-opus-4-7": OPUS_47,
    "global.anthropic.claude-opus-4-7-v1:0": OPUS_47,
    "us.anthropic.claude-opus-4-7": REGIONAL_OPUS_47,
    "us.anthropic.claude-opus-4-7-v1:0": REGIONAL_OPUS_47,
    "eu.anthropic.claude-opus-4-7-v1:0": REGIONAL_OPUS_47,
    "bedrock/us.anthropic.claude-opus-4-7-v1:0": REGIONAL_OPUS_47,
    "amazon-bedrock/anthropic.claude-opus-4-7": REGIONAL_OPUS_47,
    "claude-sonnet-4-5": SONNET_45,
    "claude-sonnet-4.5": SONNET_45,
    "claude-4.5-sonnet": SONNET_45,
    "claude-sonnet-4-5-20250929": SONNET_45,
    "claude-sonnet-4-5-20250929[1m]": SONNET_45,
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0": REGIONAL_SONNET_45,
    "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0": REGIONAL_SONNET_45,
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0": (
        REGIONAL_SONNET_45
    ),
    "bedrock/arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0": (
        REGIONAL_SONNET_45
    ),
    "claude-sonnet-4-6": SONNET_46,
    "claude-sonnet-4.6": SONNET_46,
    "anthropic/claude-sonnet-4.6": SONNET_46,
    "claude-haiku-4-5": HAIKU_45,
    "claude-haiku-4-5-20251001": HAIKU_45,
    "claude-haiku-4.5": HAIKU_45,
    "eu.anthropic.claude-haiku-4-5-20251001-v1:0": REGIONAL_HAIKU_45,
    "claude-sonnet-4-20250514": ("3", "15"),
    "claude-opus-4-1-20250805": ("15", "75"),
    "claude-3-5-sonnet-20241022": ("3", "15"),
    "claude-3.5-sonnet": ("3", "15"),
    "claude-sonnet-3.7": ("3", "15"),
    "claude-opus-5-5": ("4", "20"),
    "claude-opus-4-8-fast": ("10", "50"),
    "openrouter/anthropic/claude-opus-4.7-fast": ("30", "150"),
    "gpt-5": ("1.25", "10"),
    "gpt-5-2025-08-07": ("1.25", "10"),
    "gpt-5-high": ("1.25", "10"),
    "openai/gpt-5": ("1.25", "10"),
    "azure/gpt-5": ("1.25", "10"),
    "gpt-5-mini": ("0.25", "2"),
    "openai/gpt-5-mini": ("0.25", "2"),
    "github_copilot/gpt-5-mini": ("0.25", "2"),
    "gpt-5.1-codex": ("1.25", "10"),
    "gpt-5-1-codex": ("1.25", "10"),
    "gpt-5.6-sol": ("4", "20"),
    "gpt-4o-2024-05-13": ("5", "15"),
    "gpt-4o-2024-11-20": ("2.5", "10"),
    "o4-mini-high": ("1.1", "4.4"),
    "ft:gpt-4o-2024-08-06:acme::abc123": ("3.75", "15"),
    "gemini-2.5-pro": ("1.25", "10"),
    "gemini-2-5-pro": ("1.25", "10"),
    "models/gemini-2.5-pro": ("1.25", "10"),
    "gemini/gemini-2.5-pro": ("1.25", "10"),
    "vertex_ai/gemini-2.5-pro": ("1.25", "10"),
    "google/gemini-2.5-pro": ("1.25", "10"),
    "gemini-2.5-flash": ("0.3", "2.5"),
    "gemini-2.5-flash-001": ("0.3", "2.5"),
    "deepseek/deepseek-r1": ("0.7", "2.5"),
    "kimi-k2.5": ("0.6", "3"),
    "moonshotai/kimi-k2.5": ("0.532", "3.325"),
    "z-ai/glm-4.6": ("0.6", "2.2"),
    "openrouter/meta-llama/llama-3.3-70b-instruct": ("0.59", "0.79"),
    "meta-llama/llama-3.3-70b-instruct": ("0.59", "0.79"),
    "groq/llama-3.3-70b-versatile": ("0.59", "0.79"),
    "groq/openai/gpt-oss-120b": ("0.15", "0.6"),
    "cerebras/llama-3.3-70b": ("0.85", "1.2"),
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo": ("1.04", "1.04"),
    "us.meta.llama3-3-70b-instruct-v1:0": ("0.72", "0.72"),
    "composer-2.5[fast=true]": ("3", "15"),
    "x-ai/grok-code-fast-1": ("0.2", "1.5"),
}

# Ids whose price rests on a guess that the warning names.
GUESSED: dict[str, tuple[str, str]] = {
    "Llama 3.3 70B": ("0.59", "0.79"),
    "llama-3.3-70b-instruct": ("0.59", "0.79"),
    "deepseek-r1": ("0.7", "2.5"),
    "Qwen 2.5": ("0.36", "0.4"),
    "Step 3.6 Flash": ("0.2", "1.15"),
    "stepfun/step-3.6-flash": ("0.2", "1.15"),
    "github_copilot/gpt-4.1": ("2", "8"),
    "us.anthropic.claude-sonnet-4-5": ("3.3", "16.5"),
    "claude-opus-4-7-fast": ("30", "150"),
    "mycorp/claude-opus-4-7": ("5", "25"),
    "gemini-3-pro-preview-11-2026": ("2", "12"),
    "claude-haiku-4-5-unheard-of": ("1", "5"),
    "qwen3-coder-plus": ("0.65", "3.25"),
}

LOCAL = (
    "ollama/llama3.3:70b",
    "ollama:qwen3:8b",
    "ollama_chat/mistral",
    "lmstudio/qwen2.5-coder",
    "vllm/meta-llama/Llama-3.3-70B-Instruct",
    "llama.cpp/gemma",
    "local/anything-at-all",
    "llama3.3:70b",
    "gpt-oss:20b",
    "qwen2.5-coder:32b-instruct-q4_K_M",
    "deepseek-r1:14b",
    "mixtral:8x7b",
    "phi4:latest",
)

# Ids that no list has, with the listed model each is most like.
RELATIVES = {
    "gpt-5.3-codex-spark": "openai:gpt-5.3-codex",
    "codex-zzz": "openai:gpt-5.3-codex",
    "codex-auto-review": "openai:gpt-5.4",
    "claude-opus-6": "anthropic:claude-opus-5-5",
    "claude-opus-5-6": "anthropic:claude-opus-5-5",
    "claude-opus-4-10": "anthropic:claude-opus-4-8",
    "claude-opus-4-11-20270101": "anthropic:claude-opus-4-8",
    "claude-sonnet-6": "anthropic:claude-sonnet-5-5",
    "claude-sonnet-4-55": "anthropic:claude-sonnet-4-6",
    "claude-haiku-6": "anthropic:claude-haiku-5-5",
    "claude-haiku-4-5-ultra": "anthropic:claude-haiku-4-5",
    "claude-4-opus-mega": "anthropic:claude-opus-4-0",
    "claude-mythos-5": "anthropic:claude-mythos-5-2",
    "chatgpt-9": "openai:gpt-5.5",
    "gpt-7": "openai:gpt-5.5",
    "gpt-5.12": "openai:gpt-5.5",
    "gpt-6-nova": "openai:gpt-5.5",
    "gpt-7-luna": "openai:gpt-6-luna",
    "gemini-5-pro": "google:gemini-3.1-pro-preview",
    "grok-9": "x-ai:grok-4.7",
    "deepseek-v9": "deepseek:deepseek-v3.2-exp",
    "kimi-k2.55": "moonshotai:kimi-k2.6",
    "ollama/gpt-oss:120b-cloud": "openai:gpt-oss-120b",
    "glm-4.6:cloud": "zai:GLM-4.6",
}

# Names of families, which mean the newest of them.
FAMILIES = {
    "opus": "anthropic:claude-opus-5-5",
    "sonnet": "anthropic:claude-sonnet-5-5",
    "haiku": "anthropic:claude-haiku-5-5",
    "claude-haiku": "anthropic:claude-haiku-5-5",
}

UNKNOWN = (
    "auto",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/x",
    "totally-new-model",
    "claude-zzz-9",
)

HOSTILE = (
    "",
    "   ",
    "/",
    "a" * 257,
    "claude-opus-4-7" + "x" * 100_000,
    "claude-opus-4-7\n",
    "claude\x00opus",
    "\x1b[31mclaude-opus-4-7",
    "\u202eclaude-opus-4-7",
    "\u0441laude-opus-4-7",  # a Cyrillic first letter
    "claude-opus-4-७",
    '"; DROP TABLE prices; --',
    "-" * 200,
    "[" * 200,
    "arn:" * 50,
    "@" * 100,
    "\ud800",
)
