"""Which address is which page, and what is answered where one cannot be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import parse_qsl

import htpy as h
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tallygate.core.authority import Authority
from tallygate.core.chosen import TODAY, Span, span_named
from tallygate.core.errors import LedgerUnavailable, NotFound, TallygateError, present
from tallygate.entrypoints.page.document import PageAround, document, fault_page, rendered
from tallygate.entrypoints.page.door import OPEN, DoorFile, PageDoor
from tallygate.entrypoints.page.fence import Fence
from tallygate.entrypoints.page.look import Look, look_of
from tallygate.entrypoints.page.now import now_page
from tallygate.entrypoints.page.parts import title
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.frame import frame
from tallygate.operations.views.now import now, to_do

_STATIC = {"tokens.css": "text/css", "page.css": "text/css", "icon.svg": "image/svg+xml"}
_HTML = "text/html; charset=utf-8"
_FIELDS_MAX = 20


class Shown(NamedTuple):
    """A page as it is answered."""

    body: bytes
    status: int = 200


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one running program, each made anew for each look at it, within one reading of the ledger."""

    rt: Runtime
    around: PageAround
    authority: Authority
    door: PageDoor
    is_installed: bool

    def now(self, look: Look, _: Span) -> Shown:
        """What is so now; the days that are chosen are those of other pages."""
        with self.rt.reading():
            seen = now(self.rt, self.around.zone, look.filter)
            actions = to_do(seen, is_installed=self.is_installed, has_limits=bool(self.rt.workspace.rules))
        return Shown(now_page(look, self.around, seen, actions))

    def span(self, look: Look) -> tuple[Look, Span]:
        """The days that an address names; today where it names none."""
        now_us = self.rt.services.clock_us()
        found = span_named(look.period, now_us, self.around.zone)
        if found is None:
            look = replace(look, period=TODAY)
            found = present(span_named(TODAY, now_us, self.around.zone), "today is always there")
        return look, found

    def shown(self, look: Look, make: Callable[[Look, Span], Shown]) -> Shown:
        """A page, or why it cannot be shown: a ledger that cannot be used halts everything, and is told so."""
        try:
            return make(*self.span(look))
        except LedgerUnavailable as fault:
            return Shown(fault_page(look, self.around, fault), 503)
        except TallygateError as error:
            return Shown(self._missing(look, error), 404 if isinstance(error, NotFound) else 400)

    def _missing(self, look: Look, error: TallygateError) -> bytes:
        name = "Not here" if isinstance(error, NotFound) else "Not shown"
        hint = error.hint.replace("`", "")
        body = [title(name), h.p(".say")[error.message], hint and h.p(".note")[hint]]
        return document(look, self.around, name, *body, frame=frame(self.rt))


def page_app(pages: Pages, file: DoorFile) -> ASGIApp:
    """Everything that is answered, behind its fence."""
    base = pages.door.base
    routes = [
        Route(OPEN, partial(_opened, pages, file), methods=["POST"]),
        Route(base, partial(_to, f"{base}now")),
        *(Route(f"{base}{name}", _static(name, kind)) for name, kind in _STATIC.items()),
        Route(f"{base}now", partial(_page, pages, "now", pages.now)),
    ]
    return Fence(Starlette(routes=routes), pages.door)


async def _page(pages: Pages, name: str, make: Callable[[Look, Span], Shown], request: Request) -> Response:
    look = look_of(name, dict(request.query_params))
    body, status = await run_in_threadpool(pages.shown, look, make)
    return Response(body, status, media_type=_HTML)


async def _opened(pages: Pages, file: DoorFile, request: Request) -> Response:
    """Let the browser in that brings the token; from then on it has its key, and the file is gone."""
    given = await form_of(request)
    if not pages.door.take(given.get("token", ""), pages.rt.services.steady_us()):
        return Response(
            "This link was used or is older than a minute. Run it again: tallygate dashboard\n",
            403,
            media_type="text/plain",
        )
    await run_in_threadpool(file.remove)
    # A browser sends a strict cookie only once it goes on from an answer of this very address.
    there = f"{pages.door.base}now"
    body = h.html(lang="en")[
        h.head[h.meta(charset="utf-8"), h.meta(http_equiv="refresh", content=f"0;url={there}"), h.title["Tallygate"]],
        h.body[h.p[h.a(href=there)["Go on to the page"]]],
    ]
    return Response(rendered(body), media_type=_HTML, headers={"set-cookie": pages.door.cookie})


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; the fence has bounded what comes."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:
        return {}


async def _to(address: str, _: Request) -> Response:
    return RedirectResponse(address, 303)


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    content = (files(__package__) / "static" / name).read_bytes()
    return lambda _: Response(content, media_type=kind)
