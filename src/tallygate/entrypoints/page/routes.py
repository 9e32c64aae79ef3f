"""Which address is which page, and what is answered where one cannot be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import NamedTuple

import htpy as h
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tallygate.attest import VERIFIER
from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.chosen import ALL, TODAY, Span, span_named
from tallygate.core.errors import (
    Conflict,
    InvalidArgument,
    LedgerUnavailable,
    NotFound,
    TallygateError,
    present,
)
from tallygate.core.gate.wording import short_name
from tallygate.core.proof import Mark
from tallygate.core.text import cleaned
from tallygate.core.typed import typed_amount
from tallygate.core.values import value
from tallygate.entrypoints.page.auditor import auditor_file
from tallygate.entrypoints.page.billing import (
    BillForm,
    BillsTold,
    add_bills,
    ensure_own,
    fields_of,
    handed_over,
    refused_words,
    take_back,
)
from tallygate.entrypoints.page.bills import bills_page
from tallygate.entrypoints.page.budgets import REASON_MAX, budgets_page
from tallygate.entrypoints.page.demo_house import DemoHouse
from tallygate.entrypoints.page.document import PageAround, document, fault_page, rendered, waiting_page
from tallygate.entrypoints.page.door import OPEN, DoorFile, PageDoor
from tallygate.entrypoints.page.fence import Fence
from tallygate.entrypoints.page.gate import gate_page
from tallygate.entrypoints.page.live import LiveNews
from tallygate.entrypoints.page.look import Look, look_of
from tallygate.entrypoints.page.now import now_page
from tallygate.entrypoints.page.parts import title
from tallygate.entrypoints.page.proof import proof_page
from tallygate.entrypoints.page.session import own_of, session_page
from tallygate.entrypoints.page.sessions import sessions_page
from tallygate.entrypoints.page.spend import spend_page
from tallygate.entrypoints.page.wording import money
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.lock_book import standing_now
from tallygate.operations.proof.attest import bundle_archive
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.ending import line_now
from tallygate.operations.views.bills import bills_seen
from tallygate.operations.views.frame import frame
from tallygate.operations.views.gate import GateWanted, Listed, gate
from tallygate.operations.views.limits import limits, named
from tallygate.operations.views.now import now, to_do
from tallygate.operations.views.overview import session_called, show_session
from tallygate.operations.views.proof import envelopes_after, events_after, proof_of, public_keys
from tallygate.operations.views.session_list import Order, sessions_of
from tallygate.operations.views.session_page import beside
from tallygate.operations.views.spend import SPLITS, spend
from tallygate.reports.usage import By

_SCRIPT = "text/javascript"
_STATIC = {
    "tokens.css": "text/css",
    "page.css": "text/css",
    "page.js": _SCRIPT,
    "proof.js": _SCRIPT,
    "bills.js": _SCRIPT,
    "icon.svg": "image/svg+xml",
}
_HTML = "text/html; charset=utf-8"
_LINES = "application/jsonl; charset=utf-8"
_STORED = ("events", "envelopes", "envelope.json", "keys.json")


class Shown(NamedTuple):
    """A page as it is answered."""

    body: bytes
    status: int = 200


@value(frozen=True, slots=True)
class Pages:
    """The pages of one running program, each made anew for each look at it, within one reading of the ledger."""

    rt: Runtime
    around: PageAround
    authority: Authority
    door: PageDoor
    is_installed: bool
    anchor: Callable[[], Mark | None] = lambda: None

    def now(self, look: Look, _: Span) -> Shown:
        """What is so now; the days that are chosen are those of other pages."""
        with self.rt.reading():
            seen = now(self.rt, self.around.zone, look.filter)
            actions = to_do(seen, is_installed=self.is_installed, has_limits=bool(self.rt.workspace.rules))
        return Shown(now_page(look, self.around, seen, actions, self.door.form))

    def spend(self, look: Look, span: Span) -> Shown:
        """What was spent in a span of days."""
        by = next((each for each in SPLITS if each.value == look.other.get("by")), By.MODEL)
        return Shown(spend_page(look, self.around, spend(self.rt, self.around.zone, span, look.filter, by)))

    def sessions(self, look: Look, span: Span) -> Shown:
        """The sessions of a span of days."""
        order = next((each for each in Order if each.value == look.other.get("sort")), Order.YOUNGEST)
        first = look.other.get("first", "0")
        seen = sessions_of(self.rt, span, look.filter, order, int(first) if first.isdecimal() else 0)
        return Shown(sessions_page(look, self.around, seen))

    def session(self, look: Look, _: Span, *, fault: str | None = None) -> Shown:
        """One session, by its id or the end of it."""
        with self.rt.reading() as reader:
            view = show_session(self.rt, session_called(self.rt, look.other.get("id", "")))
            around = frame(self.rt)
            near = beside(self.rt, reader, view, own_of(view))
            line = line_now(self.rt, reader, view.session)
        every, form = "every" in look.other, self.door.form
        return Shown(
            session_page(look, self.around, around, view, near, line=line, every=every, form=form, fault=fault)
        )

    def evidence(self, look: Look, given: Mapping[str, str]) -> Response:
        """A session's evidence to be kept, or its page with why there is none."""
        session_id = given.get("id", "")
        look = replace(look, page="session", other={"id": session_id})
        try:
            ensure_own(self.door.may_write(given.get("token", "")))
            session_id = session_called(self.rt, session_id)
            found = bundle_archive(self.rt, session_id)
        except LedgerUnavailable as fault:
            return Response(fault_page(look, self.around, fault), 503, media_type=_HTML)
        except TallygateError as refused:
            told = f"{refused.message} {refused.hint}".strip()
            body, _ = self.shown(look, partial(self.session, fault=told))
            return Response(body, 400, media_type=_HTML)
        name = short_name(session_id)
        ending, kind = ("html", _HTML) if given.get("as") == "html" else ("zip", "application/zip")
        body = auditor_file(found, name) if ending == "html" else found
        kept = {"content-disposition": f'attachment; filename="evidence-{name}.{ending}"'}
        return Response(body, media_type=kind, headers=kept)

    def budgets(self, look: Look, _: Span, *, done: str | None = None, fault: str | None = None) -> Shown:
        """Every limit; one that is named with its windows, and what the raise that is typed would come to."""
        name, typed = look.other.get("budget"), look.other.get("by")
        added: int | None = None
        if name is not None and typed is not None and fault is None:
            try:
                added = typed_amount("Raise by", typed, named(self.rt, name).unit)
            except InvalidArgument as wrong:
                fault = wrong.message
        seen = limits(self.rt, name, added)
        percents = self.rt.workspace.policy.pressure_percents
        reason = look.other.get("reason", "")
        body = budgets_page(
            look, self.around, seen, percents, form=self.door.form, done=done, fault=fault, reason=reason
        )
        return Shown(body, 200 if fault is None else 400)

    def proof(self, look: Look, _: Span) -> Shown:
        """What the ledger is held against, and what the browser checks by itself."""
        with self.rt.reading():
            view, around = proof_of(self.rt, look.other.get("after")), frame(self.rt)
        return Shown(proof_page(look, self.around, around, view, self.anchor()))

    def stored(self, name: str, query: Mapping[str, str]) -> Response:
        """Stored bytes for the browser's own check, in pieces, or to be kept."""
        row, after = query.get("after", "0")[:18], query.get("after")
        try:
            if name == "events":
                return Response(events_after(self.rt, int(row) if row.isdecimal() else 0), media_type=_LINES)
            if name == "envelopes":
                return Response(envelopes_after(self.rt, after), media_type=_LINES)
            if name == "keys.json":
                return Response(public_keys(self.rt), media_type="application/json")
            with self.rt.reading() as reader:
                each = reader.attestation(query.get("id", ""))
        except TallygateError as fault:
            return Response(f"{fault.message}\n", 503, media_type="text/plain")
        if each is None or each.envelope is None:
            return Response("no envelope has that id\n", 404, media_type="text/plain")
        kept = {"content-disposition": f'attachment; filename="{each.attestation_id}.json"'}
        return Response(each.envelope, media_type="application/json", headers=kept)

    def raised(self, look: Look, span: Span, given: Mapping[str, str]) -> Shown:
        """Raise a limit as its user has read it, or say why it stays as it is."""
        name, reason = given.get("budget", ""), cleaned(given.get("reason", ""), REASON_MAX)
        look = replace(look, other={"budget": name, "by": given.get("by", ""), "reason": reason})
        try:
            ensure_form(self.door.may_write(given.get("token", "")), reason)
            before = named(self.rt, name)
            if standing_now(self.rt).lock is not None:
                hint = "Run in a terminal of your own: tallygate budget raise"
                raise locked(Loosening.BUDGET_RAISE, "which is typed in a terminal and nowhere else.", hint=hint)
            added = typed_amount("Raise by", given.get("by", ""), before.unit)
            if given.get("seen") != str(before.limit):
                raise Conflict("The limit was changed since this page was made. It stays as it is.")
            after = raise_budget(self.rt, before.name, added, reason=reason, authority=self.authority, seen=before)
        except LedgerUnavailable:
            raise
        except TallygateError as refused:
            return self.budgets(look, span, fault=f"{refused.message} {refused.hint}".strip())
        left = money(max(after.available, 0), after.unit)
        told = f"Raised to {money(after.limit, after.unit)}; {left} is left. What was halted can go on."
        return self.budgets(replace(look, other={"budget": name}), span, done=told)

    def bills(self, look: Look, span: Span, *, told: BillsTold | None = None) -> Shown:
        """The record against what providers have billed; what became of a form of it stands above."""
        seen = bills_seen(self.rt, span, look.filter)
        return Shown(bills_page(look, self.around, seen, self.door.form, told), 400 if told and told.fault else 200)

    def billed(self, look: Look, span: Span, given: BillForm) -> Shown:
        """Import bills as their user hands them over, or take one back; or say why nothing was changed."""
        try:
            ensure_own(self.door.may_write(given.token))
            told = add_bills(self.rt, given) if given.take is None else take_back(self.rt, given.take, self.authority)
        except LedgerUnavailable:
            raise
        except TallygateError as refused:
            told = BillsTold(fault=refused_words(refused))
        return self.bills(look, span, told=told)

    def gate(self, look: Look, span: Span) -> Shown:
        """Whether the gate was right in a span of days."""
        which = next((each for each in Listed if each.value == look.other.get("show")), Listed.LOOK)
        wanted = GateWanted(span, look.filter, which, look.other.get("decision"))
        return Shown(gate_page(look, self.around, gate(self.rt, self.around.zone, wanted)))

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


def page_app(pages: Pages, file: DoorFile, house: DemoHouse) -> ASGIApp:
    """Everything that is answered, behind its fence."""
    own = [
        Route(OPEN, partial(_opened, pages, file), methods=["POST"]),
        Route(f"{pages.door.base}demo", partial(_demo, pages, house), methods=["POST"]),
        *_routes(pages, pages.door.base),
    ]
    return Fence(BesideDemo(Starlette(routes=own), pages, house), pages.door)


class BesideDemo:
    """The user's own pages, and below an address of their own those of the made-up month, once it is there."""

    def __init__(self, own: ASGIApp, pages: Pages, house: DemoHouse) -> None:
        self._own, self._house = own, house
        self._base = f"{pages.door.base}demo/"
        self._around = PageAround(pages.around.zone, is_demo=True, back="../now")
        self._pages = pages
        self._made: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._base):
            await self._own(scope, receive, send)
            return
        answers = self._answers(scope["path"].removeprefix(self._base))
        await answers(scope, receive, send)

    def _answers(self, name: str) -> ASGIApp:
        rt, house = self._house.rt, self._house
        if rt is not None:
            if self._made is None:
                pages = replace(self._pages, rt=rt, around=self._around, is_installed=True, anchor=lambda: None)
                self._made = Starlette(routes=_routes(pages, self._base))
            return self._made
        if name in _STATIC:
            return _static(name, _STATIC[name])(None)
        if not house.is_begun:
            return RedirectResponse("../now", 303)
        return Response(waiting_page(look_of("now", {}), self._around, house.percent, house.fault), media_type=_HTML)


def _routes(pages: Pages, base: str) -> list[Route]:
    news = LiveNews(pages.rt.services.ledger, pages.door.closing)
    return [
        Route(base, partial(_to, f"{base}now")),
        *(Route(f"{base}{name}", _static(name, kind)) for name, kind in _STATIC.items()),
        Route(f"{base}live", partial(_live, news)),
        Route(f"{base}now", partial(_page, pages, "now", pages.now)),
        Route(f"{base}spend", partial(_page, pages, "spend", pages.spend)),
        Route(f"{base}sessions", partial(_page, pages, "sessions", pages.sessions)),
        Route(f"{base}budgets", partial(_page, pages, "budgets", pages.budgets), methods=["GET"]),
        Route(f"{base}budgets", partial(_raise, pages), methods=["POST"]),
        Route(f"{base}gate", partial(_page, pages, "gate", pages.gate)),
        Route(f"{base}bills", partial(_bills, pages), methods=["GET"]),
        Route(f"{base}bills", partial(_bills_form, pages), methods=["POST"]),
        Route(f"{base}proof", partial(_page, pages, "proof", pages.proof)),
        *(Route(f"{base}{name}", partial(_stored, pages, name)) for name in _STORED),
        Route(f"{base}verify.mjs", _content(VERIFIER.read_bytes(), _SCRIPT)),
        Route(f"{base}session", partial(_page, pages, "session", pages.session)),
        Route(f"{base}evidence", partial(_evidence, pages), methods=["POST"]),
    ]


async def _demo(pages: Pages, house: DemoHouse, request: Request) -> Response:
    """Begin to make the month, and go there: it says how far it is."""
    given = await fields_of(request)
    if not pages.door.may_write(given.get("token", "")):
        return Response("This form was not made by this page. Load the page again.\n", 400, media_type="text/plain")
    house.begin()
    return RedirectResponse(f"{pages.door.base}demo/now", 303)


async def _page(pages: Pages, name: str, make: Callable[[Look, Span], Shown], request: Request) -> Response:
    look = look_of(name, dict(request.query_params))
    body, status = await run_in_threadpool(pages.shown, look, make)
    return Response(body, status, media_type=_HTML)


async def _stored(pages: Pages, name: str, request: Request) -> Response:
    return await run_in_threadpool(pages.stored, name, dict(request.query_params))


async def _live(news: LiveNews, _: Request) -> Response:
    """Say whenever another program has written into the ledger; what is new is fetched as the page itself."""
    return news.answer()


async def _bills(pages: Pages, request: Request) -> Response:
    # Bills come days late: what is asked for without a period is everything.
    look = look_of("bills", dict(request.query_params), period=ALL)
    body, status = await run_in_threadpool(pages.shown, look, pages.bills)
    return Response(body, status, media_type=_HTML)


async def _bills_form(pages: Pages, request: Request) -> Response:
    async with handed_over(request) as given:
        look = look_of("bills", dict(request.query_params), period=ALL)

        def made(look: Look, span: Span) -> Shown:
            return pages.billed(look, span, given)

        body, status = await run_in_threadpool(pages.shown, look, made)
        return Response(body, status, media_type=_HTML)


async def _raise(pages: Pages, request: Request) -> Response:
    look, given = look_of("budgets", dict(request.query_params)), await fields_of(request)

    def made(look: Look, span: Span) -> Shown:
        return pages.raised(look, span, given)

    body, status = await run_in_threadpool(pages.shown, look, made)
    return Response(body, status, media_type=_HTML)


async def _evidence(pages: Pages, request: Request) -> Response:
    look, given = look_of("session", dict(request.query_params)), await fields_of(request)
    return await run_in_threadpool(pages.evidence, look, given)


def ensure_form(own: bool, reason: str) -> None:
    """Refuse a form that another page has made, or that says nothing of why."""
    ensure_own(own)
    if not reason:
        raise InvalidArgument("reason", "A raise needs a reason: it is shown beside the limit.")


async def _opened(pages: Pages, file: DoorFile, request: Request) -> Response:
    """Let the browser in that brings the token; from then on it has its key, and the file is gone."""
    given = await fields_of(request)
    if not pages.door.take(given.get("token", ""), pages.rt.services.steady_us()):
        return Response(
            "This link was used or is older than a minute. Run it again: tallygate dashboard\n",
            403,
            media_type="text/plain",
        )
    await run_in_threadpool(file.remove)
    # A browser sends a strict cookie only once it goes on from an answer of this very address.
    there = f"{pages.door.base}now"
    icon = h.link(rel="icon", href=f"{pages.door.base}icon.svg")
    body = h.html(lang="en")[
        h.head[
            icon, h.meta(charset="utf-8"), h.meta(http_equiv="refresh", content=f"0;url={there}"), h.title["Tallygate"]
        ],
        h.body[h.p[h.a(href=there)["Go on to the page"]]],
    ]
    return Response(rendered(body), media_type=_HTML, headers={"set-cookie": pages.door.cookie})


async def _to(address: str, _: Request) -> Response:
    return RedirectResponse(address, 303)


def _static(name: str, kind: str) -> Callable[[Request | None], Response]:
    return _content((files(__package__) / "static" / name).read_bytes(), kind)


def _content(content: bytes, kind: str) -> Callable[[Request | None], Response]:
    return lambda _: Response(content, media_type=kind)
