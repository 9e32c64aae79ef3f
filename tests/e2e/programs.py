"""The clients: how each is set up without a user, started with a prompt, and what its output says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.install import node_folder
from tests.e2e.wire import Tool

KEY = "dummy-not-a-key"
NOWHERE = "/nowhere/python"
Row = Mapping[str, Any]


@dataclass
class ToolRun:
    """A tool as the client reported it: what came out, and whether it was run and went well."""

    name: str
    ok: bool = False
    result: str = ""


@dataclass
class Seen:
    """What a client's output says it did."""

    session: str = ""
    tools: list[ToolRun] = field(default_factory=list)
    said: str = ""
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where a client lives during a test."""

    clients: Path
    home: Path
    work: Path
    api: str

    def program(self, name: str) -> str:
        return str(self.clients / name / "node_modules" / ".bin" / name)


class Client(Protocol):
    """One client.

    `name` is what its transcripts go by, `option` what `tallygate init --client` calls it; `server_file` holds the
    entry of Tallygate's server, and `without_server` makes that one lead nowhere. `unseen` are the kinds of responses
    that the client writes down nowhere.
    """

    name: str
    option: str
    model: str
    server_file: str
    unseen: tuple[str, ...]

    def prepare(self, place: Place) -> None: ...
    def environ(self, place: Place) -> dict[str, str]: ...
    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]: ...
    def read(self, rows: Iterable[Row]) -> Seen: ...
    def shell(self, command: str) -> Tool: ...
    def without_server(self, text: str) -> str: ...


def write(path: Path, value: Any) -> None:
    """A settings file, as text or as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=2), encoding="utf-8")


class ClaudeCode:
    """Claude Code."""

    name = "claude_code"
    option = "claude-code"
    model = "claude-sonnet-4-6"
    server_file = ".claude.json"
    unseen: tuple[str, ...] = ()
    tools = ("Bash", "Read", "Write", "Edit", "Agent", "Task")

    def shell(self, command: str) -> Tool:
        return Tool("Bash", {"command": command, "description": "Work."})

    def without_server(self, text: str) -> str:
        settings = json.loads(text)
        settings["mcpServers"]["tallygate"]["command"] = NOWHERE
        return json.dumps(settings)

    def prepare(self, place: Place) -> None:
        write(
            place.home / ".claude" / "settings.json",
            {"permissions": {"defaultMode": "default", "allow": [*self.tools, "mcp__tallygate"]}},
        )
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        onboarded = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "lastOnboardingVersion": "2.1.332",
            "bypassPermissionsModeAccepted": True,
            "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
            "projects": {str(place.work): trusted},
        }
        write(place.home / ".claude.json", onboarded)

    def environ(self, place: Place) -> dict[str, str]:
        off = ("DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_FEEDBACK_COMMAND")
        return {"ANTHROPIC_BASE_URL": place.api, "ANTHROPIC_API_KEY": KEY} | dict.fromkeys(off, "1")

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("claude"), "-p", prompt, "--model", self.model, "--output-format", "stream-json"]
        return [*argv, "--verbose", *(["--resume", resume] if resume else [])]

    def read(self, rows: Iterable[Row]) -> Seen:
        seen = Seen()
        runs: dict[str, ToolRun] = {}
        for row in rows:
            seen.session = row.get("session_id") or seen.session
            content = row.get("message", {}).get("content") if row["type"] in {"assistant", "user"} else None
            for block in content if isinstance(content, list) else ():
                if block["type"] == "tool_use":
                    runs[block["id"]] = ToolRun(block["name"])
                    seen.tools.append(runs[block["id"]])
                elif block["type"] == "tool_result" and block["tool_use_id"] in runs:
                    run = runs[block["tool_use_id"]]
                    run.ok, run.result = not block.get("is_error"), json.dumps(block.get("content"))
            if row["type"] == "result":
                seen.said = row.get("result") or ""
                if row.get("is_error"):
                    seen.errors.append(json.dumps(row))
        return seen


class Codex:
    """Codex. Its hooks are not trusted by anybody here, so it is told not to ask; one test does without that."""

    name = "codex"
    option = "codex"
    model = "gpt-5.1-codex"
    server_file = ".codex/config.toml"
    unseen: tuple[str, ...] = ()

    def shell(self, command: str) -> Tool:
        return Tool("exec_command", {"cmd": command})

    def without_server(self, text: str) -> str:
        before, found, after = text.partition("[mcp_servers.tallygate]")
        return before + found + re.sub(r'command = "[^"]*"', f'command = "{NOWHERE}"', after, count=1)

    def prepare(self, place: Place) -> None:
        settings = f"""
model = "{self.model}"
model_provider = "mock"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.mock]
name = "mock"
base_url = "{place.api}/v1"
wire_api = "responses"
env_key = "MOCK_KEY"
request_max_retries = 0
stream_max_retries = 0

[projects."{place.work}"]
trust_level = "trusted"
"""
        write(place.home / ".codex" / "config.toml", settings)

    def environ(self, place: Place) -> dict[str, str]:
        return {"MOCK_KEY": KEY}

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("codex"), "exec", *(["resume", resume] if resume else [])]
        return [*argv, "--json", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", prompt]

    def read(self, rows: Iterable[Row]) -> Seen:
        seen = Seen()
        for row in rows:
            seen.session = row.get("thread_id") or seen.session
            item = row.get("item") or {}
            if row["type"] in {"error", "turn.failed"}:
                seen.errors.append(json.dumps(row))
            elif row["type"] == "item.completed":
                match item["type"]:
                    case "agent_message":
                        seen.said = item["text"]
                    case "error":
                        seen.errors.append(item["message"])
                    case "command_execution":
                        ok = item.get("status") == "completed"
                        seen.tools.append(ToolRun("exec_command", ok, item.get("aggregated_output", "")))
                    case "mcp_tool_call" | "collab_tool_call":
                        seen.tools.append(ToolRun(item["tool"], item.get("status") == "completed", json.dumps(item)))
        return seen


class GeminiCli:
    """Gemini CLI."""

    name = "gemini"
    option = "gemini"
    model = "gemini-2.5-pro"
    server_file = ".gemini/settings.json"
    unseen: tuple[str, ...] = ()

    def shell(self, command: str) -> Tool:
        return Tool("run_shell_command", {"command": command})

    def without_server(self, text: str) -> str:
        settings = json.loads(text)
        settings["mcpServers"]["tallygate"]["command"] = NOWHERE
        return json.dumps(settings)

    def prepare(self, place: Place) -> None:
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
            "tools": {"shell": {"enableInteractiveShell": False}},
        }
        write(place.home / ".gemini" / "settings.json", settings)

    def environ(self, place: Place) -> dict[str, str]:
        return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": place.api, "GEMINI_CLI_TRUST_WORKSPACE": "true"}

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("gemini"), "-p", prompt, "-m", self.model, "--output-format", "stream-json"]
        return [*argv, "--approval-mode", "yolo", *(["--resume", "latest"] if resume else [])]

    def read(self, rows: Iterable[Row]) -> Seen:
        seen = Seen()
        runs: dict[str, ToolRun] = {}
        for row in rows:
            seen.session = row.get("session_id") or seen.session
            match row["type"]:
                case "tool_use":
                    runs[row["tool_id"]] = ToolRun(row["tool_name"])
                    seen.tools.append(runs[row["tool_id"]])
                case "tool_result":
                    run = runs[row["tool_id"]]
                    run.ok, run.result = row["status"] == "success", str(row.get("output") or row.get("error"))
                case "message" if row.get("role") == "assistant":
                    seen.said += str(row.get("content", ""))
                case "error":
                    seen.errors.append(json.dumps(row))
        return seen


class OpenCode:
    """opencode, with a provider of its own for the model API of the test."""

    name = "opencode"
    option = "opencode"
    model = "gpt-4.1"
    server_file = ".config/opencode/opencode.json"
    unseen: tuple[str, ...] = ("aside",)

    def shell(self, command: str) -> Tool:
        return Tool("bash", {"command": command, "description": "Work."})

    def without_server(self, text: str) -> str:
        settings = json.loads(text)
        settings["mcp"]["tallygate"]["command"][0] = NOWHERE
        return json.dumps(settings)

    def prepare(self, place: Place) -> None:
        folder = place.home / ".config" / "opencode"
        model = {"name": self.model, "limit": {"context": 200_000, "output": 8_192}, "tool_call": True}
        model |= {"cost": {"input": 2, "output": 8, "cache_read": 0.5}}
        options = {"baseURL": f"{place.api}/v1", "apiKey": KEY}
        provider = {"npm": "@ai-sdk/openai-compatible", "name": "Mock", "options": options}
        settings = {
            "$schema": "https://opencode.ai/config.json",
            "autoupdate": False,
            "share": "disabled",
            "snapshot": False,
            "model": f"mock/{self.model}",
            "small_model": f"mock/{self.model}",
            "permission": {"*": "allow"},
            "provider": {"mock": {**provider, "models": {self.model: model}}},
        }
        write(folder / "opencode.json", settings)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(place.clients / "opencode-plugin" / name, folder / name)
        (folder / "node_modules").symlink_to(place.clients / "opencode-plugin" / "node_modules")

    def environ(self, place: Place) -> dict[str, str]:
        off = ("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD")
        return dict.fromkeys(off, "1")

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("opencode"), "run", "--format", "json", *(["--session", resume] if resume else [])]
        return [*argv, prompt]

    def read(self, rows: Iterable[Row]) -> Seen:
        seen = Seen()
        for row in rows:
            seen.session = row.get("sessionID") or seen.session
            part = row.get("part") or {}
            if row["type"] == "error":
                seen.errors.append(json.dumps(row))
            elif part.get("type") == "text":
                seen.said = part["text"]
            elif part.get("type") == "tool":
                state = part["state"]
                result = str(state.get("output") or state.get("error"))
                seen.tools.append(ToolRun(part["tool"], state["status"] == "completed", result))
        return seen


class QwenCode:
    """Qwen Code, with a key of OpenAI's interface for the model API of the test."""

    name = "qwen"
    option = "qwen"
    model = "gpt-4.1"
    server_file = ".qwen/settings.json"
    unseen: tuple[str, ...] = ()

    def shell(self, command: str) -> Tool:
        return Tool("run_shell_command", {"command": command})

    def without_server(self, text: str) -> str:
        settings = json.loads(text)
        settings["mcpServers"]["tallygate"]["command"] = NOWHERE
        return json.dumps(settings)

    def prepare(self, place: Place) -> None:
        settings = {
            "security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": False}},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False},
            "tools": {"shell": {"enableInteractiveShell": False}},
            "ui": {"enableFollowupSuggestions": False},
        }
        write(place.home / ".qwen" / "settings.json", settings)

    def environ(self, place: Place) -> dict[str, str]:
        return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{place.api}/v1", "OPENAI_MODEL": self.model}

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("qwen"), "-p", prompt, "--output-format", "stream-json", "--approval-mode", "yolo"]
        return [*argv, *(["--resume", resume] if resume else [])]

    def read(self, rows: Iterable[Row]) -> Seen:
        return ClaudeCode().read(row for row in rows if "type" in row)


class CopilotCli:
    """GitHub Copilot CLI without GitHub: with a provider of the user's own."""

    name = "copilot"
    option = "copilot"
    model = "gpt-4.1"
    server_file = ".copilot/mcp-config.json"
    unseen: tuple[str, ...] = ()

    def shell(self, command: str) -> Tool:
        return Tool("bash", {"command": command, "description": "Work."})

    def without_server(self, text: str) -> str:
        settings = json.loads(text)
        settings["mcpServers"]["tallygate"]["command"] = NOWHERE
        return json.dumps(settings)

    def prepare(self, place: Place) -> None:
        write(place.home / ".copilot" / "settings.json", {"trusted_folders": [str(place.work)]})

    def environ(self, place: Place) -> dict[str, str]:
        provider = {"BASE_URL": f"{place.api}/v1", "TYPE": "openai", "API_KEY": KEY}
        given = {f"COPILOT_PROVIDER_{name}": value for name, value in provider.items()}
        return {"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false", "COPILOT_MODEL": self.model} | given

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = [place.program("copilot"), "-p", prompt, "--allow-all-tools", "--output-format", "json", "--no-color"]
        return [*argv, "--no-auto-update", "--disable-builtin-mcps", *([f"--resume={resume}"] if resume else [])]

    def last_session(self, place: Place) -> str:
        """The session whose events were written last; a run that was ended says nothing of it in JSON."""
        events = (place.home / ".copilot" / "session-state").glob("*/events.jsonl")
        return max(events, key=lambda file: file.stat().st_mtime_ns).parent.name

    def read(self, rows: Iterable[Row]) -> Seen:
        seen = Seen()
        runs: dict[str, ToolRun] = {}
        for row in rows:
            data = row.get("data") or {}
            seen.session = data.get("sessionId") or row.get("sessionId") or seen.session
            match row.get("type"):
                case "tool.execution_start":
                    runs[data["toolCallId"]] = ToolRun(data["toolName"])
                    seen.tools.append(runs[data["toolCallId"]])
                case "tool.execution_complete" if data["toolCallId"] in runs:
                    run = runs[data["toolCallId"]]
                    run.ok = bool(data.get("success"))
                    run.result = json.dumps(data.get("error") or data.get("result"))
                case "assistant.message":
                    seen.said = data.get("content") or seen.said
                case "session.error":
                    seen.errors.append(json.dumps(row))
        return seen


def search_path(clients: Path) -> str:
    """Where a client finds programs: the Node it needs first, then the system's."""
    return f"{node_folder(clients)}:/usr/local/bin:/usr/bin:/bin"
