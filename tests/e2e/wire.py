"""How each model API puts a turn on the wire, streamed or whole, with the token classes each of them knows."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Tokens:
    """What one response used: classes that do not overlap, but for `reasoning`, which is a part of `output`."""

    fresh: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        return self.fresh + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True)
class Tool:
    """A tool that the model wants to be run."""

    name: str
    arguments: Body
    namespace: str | None = None


def never() -> bool:
    """Hold a stream until its client has gone."""
    return False


@dataclass(frozen=True)
class Turn:
    """One response of the model.

    `gap` is the pause between two events of its stream, in seconds. With `hold` the stream stands still before
    its final counts until that is true or nobody listens any more, so that a test can act while the model still speaks.
    With `cut` the connection is lost there.
    """

    text: str = ""
    tools: tuple[Tool, ...] = ()
    tokens: Tokens = field(default_factory=lambda: Tokens(fresh=8, output=5))
    gap: float = 0
    hold: Callable[[], bool] | None = None
    cut: bool = False


@dataclass(frozen=True)
class Speech:
    """A turn in one API's words: the events before, for and after each block of content, and the whole at once."""

    opening: list[str]
    blocks: list[list[str]]
    closing: list[str]
    whole: Body


def new_id(prefix: str) -> str:
    """A name no other response has."""
    return prefix + uuid.uuid4().hex[:24]


def event(data: Body | str, name: str | None = None) -> str:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


def _typed(data: Body) -> str:
    return event(data, str(data["type"]))


def anthropic(turn: Turn, model: str) -> Speech:
    """Anthropic Messages."""
    tokens = turn.tokens
    usage = {
        "input_tokens": tokens.fresh,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    content += [
        {"type": "tool_use", "id": new_id("toolu_"), "name": tool.name, "input": dict(tool.arguments)}
        for tool in turn.tools
    ]
    stop = {"stop_reason": "tool_use" if turn.tools else "end_turn", "stop_sequence": None}
    message = {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": model, "content": content}
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    blocks = []
    for index, block in enumerate(content):
        if block["type"] == "text":
            start: Body = {**block, "text": ""}
            delta: Body = {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        blocks.append([
            _typed({"type": "content_block_start", "index": index, "content_block": start}),
            _typed({"type": "content_block_delta", "index": index, "delta": delta}),
            _typed({"type": "content_block_stop", "index": index}),
        ])  # fmt: skip
    return Speech(
        [_typed({"type": "message_start", "message": begun})],
        blocks,
        [_typed({"type": "message_delta", "delta": stop, "usage": usage}), _typed({"type": "message_stop"})],
        {**message, **stop, "usage": usage},
    )


def responses(turn: Turn, model: str) -> Speech:
    """OpenAI Responses."""
    tokens = turn.tokens
    usage = {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cache_read},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.output,
    }
    said = {"type": "output_text", "text": turn.text, "annotations": []}
    items: list[dict[str, Any]] = []
    if turn.text:
        items.append({"type": "message", "id": new_id("msg_"), "role": "assistant", "content": [said]})
    for tool in turn.tools:
        call = {"type": "function_call", "id": new_id("fc_"), "call_id": new_id("call_"), "name": tool.name}
        call |= {"namespace": tool.namespace} if tool.namespace else {}
        items.append({**call, "arguments": json.dumps(tool.arguments)})
    number = itertools.count()

    def told(kind: str, **more: Any) -> str:
        return _typed({"type": kind, "sequence_number": next(number), **more})

    answer = {"id": new_id("resp_"), "object": "response", "created_at": 0, "model": model}
    opening = [told("response.created", response={**answer, "status": "in_progress", "output": [], "usage": None})]
    blocks = []
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            started = {**item, "status": "in_progress", "content": []}
            middle = [told("response.output_text.delta", **place, content_index=0, delta=turn.text)]
        else:
            started = {**item, "status": "in_progress", "arguments": ""}
            middle = [told("response.function_call_arguments.delta", **place, delta=item["arguments"])]
        blocks.append([
            told("response.output_item.added", output_index=index, item=started),
            *middle,
            told("response.output_item.done", output_index=index, item={**item, "status": "completed"}),
        ])  # fmt: skip
    done = {**answer, "status": "completed", "output": items, "usage": usage}
    return Speech(opening, blocks, [told("response.completed", response=done)], done)


def chat(turn: Turn, model: str) -> Speech:
    """OpenAI Chat Completions."""
    tokens = turn.tokens
    usage = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
    calls = [
        {
            "id": new_id("call_"),
            "type": "function",
            "function": {"name": tool.name, "arguments": json.dumps(tool.arguments)},
        }
        for tool in turn.tools
    ]
    finish = "tool_calls" if calls else "stop"
    answer = {"id": new_id("chatcmpl-"), "created": 0, "model": model}

    def chunk(delta: Body, end: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return event({**answer, "object": "chat.completion.chunk", "choices": [choice]})

    blocks = [[chunk({"content": turn.text})]] if turn.text else []
    blocks += [[chunk({"tool_calls": [{**call, "index": index}]})] for index, call in enumerate(calls)]
    counted = event({**answer, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    message = {"role": "assistant", "content": turn.text or None, **({"tool_calls": calls} if calls else {})}
    return Speech(
        [chunk({"role": "assistant", "content": ""})],
        blocks,
        [chunk({}, finish), counted, event("[DONE]")],
        {
            **answer,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        },
    )


def gemini(turn: Turn, model: str) -> Speech:
    """Gemini; it counts what was thought beside what was said."""
    tokens = turn.tokens
    usage = {
        "promptTokenCount": tokens.prompt,
        "cachedContentTokenCount": tokens.cache_read,
        "candidatesTokenCount": tokens.output - tokens.reasoning,
        "thoughtsTokenCount": tokens.reasoning,
        "totalTokenCount": tokens.prompt + tokens.output,
    }
    parts: list[dict[str, Any]] = [{"text": turn.text}] if turn.text else []
    parts += [{"functionCall": {"name": tool.name, "args": dict(tool.arguments)}} for tool in turn.tools]
    named = {"modelVersion": model, "responseId": new_id("")}

    def chunk(some: list[dict[str, Any]], end: str | None, used: Body) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": some}, "index": 0} | ({"finishReason": end} if end else {})
        return {"candidates": [candidate], "usageMetadata": used, **named}

    so_far = {"promptTokenCount": tokens.prompt, "totalTokenCount": tokens.prompt}
    blocks = [[event(chunk([part], None, so_far))] for part in parts]
    return Speech([], blocks, [event(chunk([{"text": ""}], "STOP", usage))], chunk(parts, "STOP", usage))


APIS: Mapping[str, Callable[[Turn, str], Speech]] = {
    "/messages": anthropic,
    "/responses": responses,
    "/chat/completions": chat,
    ":streamGenerateContent": gemini,
    ":generateContent": gemini,
}
