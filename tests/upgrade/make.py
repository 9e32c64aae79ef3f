"""Make the home that an older version leaves behind: ledger, keys, run log, settings, hooks in six clients.

Run by hand with the python of that version, whose package must be installed in /opt/tallygate:

    /opt/tallygate/bin/python3 tests/upgrade/make.py tests/upgrade/first-wave.zip

The home lies at /home/dev while it is made, because its paths are hashed into events; it is removed afterwards.
`told.json` in the archive is what that version answered, for the tests to compare.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HOME = Path("/home/dev")
SHOP = HOME / "shop"
PYTHON = "/opt/tallygate/bin/python3"
ENVIRONMENT = {
    "HOME": str(HOME),
    "PATH": "/opt/tallygate/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "USER": "dev",
    "LOGNAME": "dev",
}
CLIENTS = ("claude-code", "codex", "gemini", "opencode", "copilot", "qwen")
SESSION = "7f3a2b10-1111-4222-8333-444455556666"

SETTINGS = """\
time_zone = "UTC"

[[budget]]
scope = "session"
limit_usd = 2.00     # what one session may spend

[[budget]]
scope = "user"
period = "day"
limit_usd = 40

[[budget]]
scope = "project"
match = "~/shop"
period = "5h"
limit_usd = 90
mode = "soft"

[[price]]
match = "house-*"
input = 3
output = 15
"""


def tallygate(*args: str, given: str | None = None, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [PYTHON, "-m", "tallygate", *args],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        cwd=SHOP,
    )
    if done.returncode not in codes:
        raise SystemExit(f"tallygate {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def lay_out() -> dict[str, str]:
    """The user's own files, before anything is installed; gives them back as text."""
    files = {
        ".claude/settings.json": '{\n  // mine\n  "theme": "dark",\n'
        '  "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}\n}\n',
        ".claude/CLAUDE.md": "Be brief.\n",
        ".claude.json": '{"numStartups": 3, "mcpServers": {"other": {"command": "other"}}}\n',
        ".codex/config.toml": 'model = "gpt-5.3-codex" # the small one\n\n[mcp_servers.other]\ncommand = "other"\n',
        ".gemini/settings.json": '{"ui": {"theme": "Dracula"}}\n',
        ".config/opencode/opencode.json": '{\n\t"$schema": "https://opencode.ai/config.json"\n}\n',
        ".qwen/settings.json": "{}",
        ".copilot/config.json": '{"banner": "never"}\n',
        "shop/.git/HEAD": "ref: refs/heads/main\n",
        "shop/.l6e/config.toml": '[[budget]]\nscope = "session"\nlimit_usd = 1.50\n',
    }
    for name, text in files.items():
        path = HOME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    settings = HOME / ".config" / "tallygate" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)
    return files


def response(number: int, at: datetime, model: str = "claude-sonnet-4-5") -> str:
    """One row as Claude Code writes it."""
    usage = {
        "input_tokens": 40,
        "cache_read_input_tokens": 9000,
        "cache_creation_input_tokens": 300,
        "output_tokens": 210,
    }
    message = {
        "id": f"msg_01{number:022d}",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "end_turn",
    }
    row = {"type": "assistant", "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    row |= {
        "sessionId": SESSION,
        "requestId": f"req_{number}",
        "uuid": f"u{number}",
        "cwd": str(SHOP),
        "version": "2.1.330",
    }
    return json.dumps(row | {"message": message | {"usage": usage}}, separators=(",", ":")) + "\n"


class Server:
    """The MCP server of that version, asked line by line."""

    def __init__(self) -> None:
        self._at = 0
        self._process = subprocess.Popen(
            [PYTHON, "-m", "tallygate", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            cwd=SHOP,
        )
        self.ask(
            "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "older", "version": "1"}
        )
        self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._at += 1
        self._say({"jsonrpc": "2.0", "id": self._at, "method": method, "params": params})
        assert self._process.stdout
        while True:
            line = json.loads(self._process.stdout.readline())
            if line.get("id") == self._at:
                return line["result"]

    def call(self, tool: str, arguments: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        meta = {"_meta": {"tallygate/idempotency-key": key}} if key else {}
        result = self.ask("tools/call", name=tool, arguments=arguments, **meta)
        if result.get("isError"):
            raise SystemExit(f"{tool}: {result}")
        return result["structuredContent"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=300)


def work(told: dict[str, Any]) -> None:
    """Sessions of each kind: one at its end, one in the middle with a call that nobody has answered for."""
    server = Server()
    ended = server.call("l6e_run_start", {"budget_usd": 1.0, "model": "claude-sonnet-4-5"})
    step = {"session_id": ended["session_id"], "tool_name": "edit", "estimated_prompt_tokens": 2000}
    first = server.call("l6e_authorize_call", step | {"estimated_completion_tokens": 500})
    used = {"call_id": first["call_id"], "actual_prompt_tokens": 1800, "actual_completion_tokens": 420}
    told["recorded"] = {"arguments": used, "answer": server.call("l6e_record_usage", used)}
    told["halted"] = server.call("l6e_authorize_call", step | {"estimated_prompt_tokens": 900_000})
    told["ended"] = server.call("l6e_run_end", {"session_id": ended["session_id"]})
    running = server.call("l6e_run_start", {"budget_usd": 1.5, "model": "claude-opus-4-7"})
    step = {"session_id": running["session_id"], "tool_name": "plan", "estimated_prompt_tokens": 3000}
    told["running"] = {"run": running, "step": step, "answer": server.call("l6e_authorize_call", step, key="again")}
    tenant = server.call("start_budget", {"budget_gbp": 0.5, "session_id": "b-1"})
    call = {
        "session_id": "b-1",
        "model": "gpt-5.3-codex",
        "input_tokens": 900,
        "output_tokens": 120,
        "record_id": "r-1",
    }
    told["pounds"] = {"start": tenant, "call": call, "answer": server.call("record_call", call)}
    server.close()


def hooks(told: dict[str, Any], now: datetime) -> None:
    """A session of Claude Code, told of by hooks, its transcript half written."""
    transcript = HOME / ".claude" / "projects" / "-home-dev-shop" / f"{SESSION}.jsonl"
    transcript.parent.mkdir(parents=True)
    about = {"session_id": SESSION, "transcript_path": str(transcript), "cwd": str(SHOP), "prompt_id": "p1"}
    answers = [
        tallygate(
            "hook",
            "--client",
            "claude_code",
            given=json.dumps(about | {"hook_event_name": "SessionStart", "source": "startup"}),
        )
    ]
    answers.append(
        tallygate(
            "hook",
            "--client",
            "claude_code",
            given=json.dumps(about | {"hook_event_name": "UserPromptSubmit", "prompt": "go"}),
        )
    )
    rows = [response(number, now + timedelta(seconds=number)) for number in range(1, 6)]
    transcript.write_text("".join(rows) + response(6, now + timedelta(seconds=6))[:120])
    batch = about | {"hook_event_name": "PostToolBatch", "tool_calls": [{"tool_use_id": "t1"}]}
    answers.append(tallygate("hook", "--client", "claude_code", given=json.dumps(batch)))
    told["hooks"] = answers
    told["next_row"] = response(6, now + timedelta(seconds=6))


def main(target: Path) -> None:
    if HOME.exists():
        raise SystemExit(f"{HOME} is in use")
    told: dict[str, Any] = {}
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    SHOP.mkdir(parents=True)
    try:
        told["before"] = lay_out()
        told["made_at"] = now.isoformat()
        tallygate("init", *(part for client in CLIENTS for part in ("--client", client)))
        work(told)
        hooks(told, now)
        bill = SHOP / "bill.csv"
        day = now.strftime("%Y-%m-%d")
        bill.write_text(f"date,model,input_tokens,output_tokens,cost\n{day},claude-sonnet-4-5,2000,500,0.02\n")
        tallygate("import", str(bill), "--format", "generic", "--currency", "USD")
        running = told["running"]["run"]["session_id"]
        tallygate("budget", "raise", running, "0.25", "--reason", "a little more")
        told["usage"] = json.loads(tallygate("usage", "--json"))
        told["sessions"] = json.loads(tallygate("sessions", "list", "--json"))
        told["budgets"] = json.loads(tallygate("budget", "list", "--json"))
        told["verify"] = json.loads(tallygate("verify", "--json"))
        told["version"] = tallygate("--version").strip()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("told.json", json.dumps(told, indent=1))
            for path in sorted(HOME.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    archive.write(path, f"home/{path.relative_to(HOME)}")
    finally:
        shutil.rmtree(HOME)


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]).resolve())
