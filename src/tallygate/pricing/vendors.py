"""Who makes and who serves a model: the names that ids use for channels, vendors and families, as data."""

from __future__ import annotations

from tallygate.core.costing import LOCAL_RUNTIMES
from tallygate.core.values import value

# Prefixes that name who bills the call, and the catalog's id for it. Hosts the catalog does not list map to
# themselves, so that the answer can say which host it had no price for.
CHANNELS: dict[str, str] = {
    **dict.fromkeys(
        ("aws", "bedrock", "bedrock_converse", "amazon-bedrock", "amazon_bedrock", "aws-bedrock"), "aws"
    ),
    **dict.fromkeys(
        (
            "vertex_ai", "vertex_ai_beta", "vertexai", "vertex", "google-vertex", "google_vertex",
            "google-vertex-anthropic", "gemini", "google-gla", "google-genai", "google-ai-studio", "models",
        ),
        "google",
    ),
    **dict.fromkeys(
        (
            "azure", "azure_ai", "azure-ai", "azure_openai", "azure-openai", "azure-cognitive-services",
            "foundry",
        ),
        "azure",
    ),
    **dict.fromkeys(("github_copilot", "github-copilot", "copilot"), "github-copilot"),
    **dict.fromkeys(("together", "together_ai", "together-ai", "togetherai"), "together"),
    **dict.fromkeys(("fireworks", "fireworks_ai", "fireworks-ai"), "fireworks"),
    **dict.fromkeys(("novita", "novita_ai", "novita-ai"), "novita"),
    **dict.fromkeys(("cloudflare", "workers-ai", "cloudflare-workers-ai"), "cloudflare"),
    **dict.fromkeys(("perplexity", "pplx"), "perplexity"),
    **dict.fromkeys(("voyage", "voyageai"), "voyageai"),
    **{
        name: name
        for name in (
            "openrouter", "groq", "cerebras", "baseten", "databricks", "cursor", "avian", "ovhcloud", "modal",
            "doubleword", "quicksilverpro", "arcee", "zhipuai", "deepinfra", "nebius", "sambanova",
            "hyperbolic", "replicate", "anyscale", "watsonx", "oci", "nvidia_nim", "friendliai", "lambda",
            "chutes", "nscale", "huggingface", "snowflake", "sagemaker", "poe",
        )
    },
}  # fmt: skip

# Proxies and gateways: they say nothing about the price, what follows them does.
GATEWAYS = frozenset(
    {"litellm", "litellm_proxy", "vercel", "vercel_ai_gateway", "ai-gateway", "gateway", "opencode", "zen",
     "requesty", "portkey", "helicone", "kilo", "kilocode", "cline", "chat", "responses"}
)  # fmt: skip

# Gateways that a client runs for its own users, and gives models of its own away at.
CLIENT_GATEWAYS = frozenset({"opencode", "zen", "kilo", "kilocode", "cline"})

LOCAL_CHANNELS = LOCAL_RUNTIMES


@value(frozen=True, slots=True)
class Vendor:
    """Where a maker's own prices stand: its provider in the catalog, and its name as a router writes it."""

    provider: str | None
    router: str
    first_party_first: bool = False


# Some prefixes are a maker's own API, others (`x-ai/`, `moonshotai/`) are how routers spell the maker.
VENDORS: dict[str, Vendor] = {
    "anthropic": Vendor("anthropic", "anthropic", True),
    "openai": Vendor("openai", "openai", True),
    "google": Vendor("google", "google"),
    **dict.fromkeys(("deepseek", "deepseek-ai"), Vendor("deepseek", "deepseek")),
    "mistral": Vendor("mistral", "mistralai", True),
    "mistralai": Vendor("mistral", "mistralai"),
    "moonshot": Vendor("moonshotai", "moonshotai", True),
    "moonshotai": Vendor("moonshotai", "moonshotai"),
    "xai": Vendor("x-ai", "x-ai", True),
    "x-ai": Vendor("x-ai", "x-ai"),
    "zai": Vendor("zai", "z-ai", True),
    **dict.fromkeys(("z-ai", "zai-org", "thudm"), Vendor("zai", "z-ai")),
    **dict.fromkeys(("minimax", "minimaxai"), Vendor("minimax", "minimax")),
    "cohere": Vendor("cohere", "cohere", True),
    "cohere_chat": Vendor("cohere", "cohere", True),
    **dict.fromkeys(("meta", "meta-llama", "meta_llama"), Vendor("meta", "meta-llama")),
    **dict.fromkeys(("qwen", "alibaba", "dashscope"), Vendor(None, "qwen")),
    "stepfun": Vendor(None, "stepfun"),
    "amazon": Vendor("aws", "amazon"),
    "microsoft": Vendor(None, "microsoft"),
    "nvidia": Vendor(None, "nvidia"),
    "ai21": Vendor(None, "ai21"),
    "writer": Vendor(None, "writer"),
    "cursor": Vendor("cursor", "cursor", True),
    "perplexity": Vendor("perplexity", "perplexity"),
}

BEDROCK_VENDORS = frozenset(
    {"anthropic", "meta", "mistral", "amazon", "cohere", "ai21", "deepseek", "qwen", "openai", "google",
     "nvidia", "minimax", "moonshot", "moonshotai", "zai", "writer"}
)  # fmt: skip
# A profile bound to one of these regions costs a tenth more than the global one.
BEDROCK_GEOS = frozenset(
    {"us", "eu", "apac", "au", "jp", "ca", "us-gov", "sa", "me", "in", "uk", "af", "il", "kr", "global"}
)

# Beginnings of model names: family (for token counts), maker (for prices). The first that fits wins.
_FAMILIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("claude", "opus", "sonnet", "haiku", "fable", "mythos"), "claude", "anthropic"),
    (("gpt", "chatgpt", "o1", "o3", "o4", "codex", "ft:gpt", "text-embedding", "davinci"), "gpt", "openai"),
    (("gemini", "gemma", "learnlm"), "gemini", "google"),
    (("deepseek",), "deepseek", "deepseek"),
    (("kimi", "moonshot"), "kimi", "moonshotai"),
    (("llama", "meta-llama", "codellama", "muse"), "llama", "meta"),
    (("qwen", "qwq", "qvq"), "qwen", "qwen"),
    (
        ("mistral", "mixtral", "ministral", "codestral", "devstral", "magistral", "pixtral", "voxtral"),
        "mistral",
        "mistral",
    ),
    (("grok",), "grok", "x-ai"),
    (("glm", "chatglm"), "glm", "zai"),
    (("minimax", "abab"), "minimax", "minimax"),
    (("command", "c4ai", "aya"), "command", "cohere"),
    (("nova", "titan", "amazon"), "nova", "amazon"),
    (("step-",), "step", "stepfun"),
    (("phi", "mai-"), "phi", "microsoft"),
    (("nemotron",), "nemotron", "nvidia"),
    (("jamba",), "jamba", "ai21"),
    (("composer",), "composer", "cursor"),
    (("sonar", "pplx"), "sonar", "perplexity"),
)
_TELLTALE = ("claude", "chatgpt", "gpt-", "gemini", "grok", "deepseek", "kimi", "llama", "qwen", "mistral")
# Weights of these were never given out: a local runtime cannot be serving them, whatever the prefix says.
_CLOSED = ("opus", "sonnet", "haiku", "fable", "mythos", "gpt-", "o1", "o3", "o4", "grok-2", "grok-3",
           "grok-4", "grok-5", "composer", "sonar", "ft:", "nova-")  # fmt: skip
_CLOSED_ANYWHERE = ("claude", "chatgpt", "gemini")
_OPEN_DESPITE_NAME = ("gpt-oss", "gpt-j", "gpt-neo", "o1-open")


def family_and_vendor(name: str) -> tuple[str, str | None]:
    """Family and maker of a model name without prefixes; `("other", None)` when nothing tells."""
    for starts, family, vendor in _FAMILIES:
        if name.startswith(starts):
            return family, vendor
    for word in _TELLTALE:
        if word in name:
            return family_and_vendor(word)
    return "other", None


def is_closed(name: str) -> bool:
    """Whether a name belongs to a model that only its maker's partners can serve."""
    if any(word in name for word in _CLOSED_ANYWHERE):
        return True
    return name.startswith(_CLOSED) and not name.startswith(_OPEN_DESPITE_NAME)
