"""The model API of the end-to-end tests: what it serves is what it bills."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.e2e.driving import wait_for
from tests.e2e.mock_api import MockApi
from tests.e2e.wire import Tokens, Tool, Turn, never

SONNET = "claude-sonnet-4-6"


@pytest.fixture
def api() -> Iterator[Callable[..., MockApi]]:
    made: list[MockApi] = []

    def make(*main: Turn, **more: Any) -> MockApi:
        made.append(MockApi(main, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


@contextmanager
def asking(api: MockApi, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", int(api.url.rpartition(":")[2]), timeout=10)) as link:
        link.request("POST", path, json.dumps(body))
        with link.getresponse() as answer:
            yield answer


def asked(api: MockApi, path: str, body: dict[str, Any]) -> str:
    with asking(api, path, body) as answer:
        return answer.read().decode()


def prompt(text: str, **more: Any) -> dict[str, Any]:
    return {"model": SONNET, "stream": True, "messages": [{"role": "user", "content": text}], "tools": [{}], **more}


@pytest.mark.parametrize(
    "path, counted",
    [
        ("/v1/messages", '"cache_read_input_tokens": 5'),
        ("/v1/responses", '"cached_tokens": 5'),
        ("/v1/chat/completions", '"cached_tokens": 5'),
        (f"/v1beta/models/{SONNET}:streamGenerateContent", '"cachedContentTokenCount": 5'),
    ],
)
def test_every_api_streams_its_content_before_the_final_counts(api: Any, path: str, counted: str) -> None:
    turn = Turn("Said.", (Tool("look", {"at": "it"}),), Tokens(fresh=2, cache_read=5, output=7))
    text = asked(api(turn), path, prompt("Go."))
    assert text.index("Said.") < text.index("look") < text.rindex(counted)


def test_the_bill_is_each_class_at_its_own_price(api: Any) -> None:
    tokens = Tokens(fresh=1_000, cache_read=10_000, cache_write_5m=2_000, cache_write_1h=500, output=300)
    mock = api(Turn("Said.", tokens=tokens))
    asked(mock, "/v1/messages", prompt("Go."))
    assert mock.bill() == {SONNET: tokens}
    assert mock.dollars() == Decimal("0.003") + Decimal("0.003") + Decimal("0.0075") + Decimal("0.003") + Decimal(
        "0.0045"
    )


def test_a_stream_that_nobody_hears_to_its_end_is_billed_by_what_was_sent(api: Any) -> None:
    turn = Turn("Said.", (Tool("look", {}),), Tokens(fresh=1_000, output=300), hold=never)
    mock = api(turn)
    with asking(mock, "/v1/messages", prompt("Go.")) as answer:
        ended = 0
        while ended < 2:
            ended += answer.readline().strip() == b"event: content_block_stop"
    (served,) = wait_for(lambda: [each for each in mock.served if each.ended], "the API noticed")
    assert (served.whole, served.tokens) == (False, Tokens(fresh=1_000, output=300))


@pytest.mark.parametrize(
    "body, kind",
    [
        (prompt("Do the thing."), "main"),
        (prompt("TASK-ONE please"), "TASK-ONE"),
        (prompt("<task-notification>TASK-ONE is through</task-notification>"), "main"),
        (prompt("Your task is to create a detailed summary of the conversation so far."), "summary"),
        ({**prompt("Write a title for this session."), "tools": []}, "aside"),
    ],
    ids=["main", "subagent", "notice of a subagent", "compaction", "title"],
)
def test_conversations_and_what_clients_ask_on_their_own_are_told_apart(api: Any, body: Any, kind: str) -> None:
    mock = api(agents={"TASK-ONE": [Turn("Sub.")]})
    asked(mock, "/v1/messages", body)
    assert [each.kind for each in mock.served] == [kind]


def test_a_model_that_heeds_a_word_ends_its_turn_when_it_is_said(api: Any) -> None:
    mock = api(*[Turn("Working.")] * 3, heeds="stop now")
    said = [asked(mock, "/v1/messages", prompt(text)) for text in ("Go.", "Please stop now.")]
    assert ["Working." in each for each in said] == [True, False]


def test_what_the_api_does_not_have_is_remembered(api: Any) -> None:
    mock = api()
    assert "not_found" in asked(mock, "/v1/embeddings", {})
    assert mock.strange == ["/v1/embeddings"]
