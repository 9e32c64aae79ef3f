"""Clients that call us or whose records we read: a folder each, and here once."""

# In the order in which they are listed, and in which names are looked up.
FOLDERS = (
    "claude_code",
    "codex",
    "gemini",
    "opencode",
    "cursor",
    "vscode",
    "windsurf",
    "claude_desktop",
    "zed",
    "qwen",
    "copilot",
    "droid",
)
