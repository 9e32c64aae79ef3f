"""What a session leaves behind: who changed its limit and what was halted, its line of the run log, its evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import htpy as h
from htpy import Element, Node

from tallygate.core.gate.wording import short_name
from tallygate.core.model import Call, LimitChange
from tallygate.core.text import cleaned, plural
from tallygate.core.words import Action, client_name
from tallygate.entrypoints.page.labels import agent_of, budget_label, folder_label
from tallygate.entrypoints.page.parts import command, facts, section
from tallygate.entrypoints.page.wording import NONE, money, when
from tallygate.operations.views.frame import Frame
from tallygate.operations.views.overview import SessionView

_RECORDS = "records"
_LINE_MAX = 8_000


def evidence(view: SessionView, form: str) -> Element:
    """What proves the session to others, to be kept; what is due is signed as it is asked for."""
    return section(
        "Evidence",
        h.form(method="post", action="evidence")[
            h.input(type="hidden", name="token", value=form),
            h.input(type="hidden", name="id", value=view.session.session_id),
            h.button(type="submit")["Download evidence"],
            " ",
            h.button(type="submit", name="as", value="html")["As one page"],
        ],
        h.p(".foot")[
            "Its attestations, events and prices in one archive, with how anybody verifies them offline; "
            "or as one page that verifies itself in a browser."
        ],
        command(f"tallygate attest export {short_name(view.session.session_id)} --zip"),
    )


def limits_changed(view: SessionView, frame: Frame, zone: tzinfo) -> Element:
    """Every change of a limit that binds it and each halt, as time went."""
    names = {each.name: budget_label(each, {view.session.session_id: view.session}) for each in view.budgets}
    moments: list[tuple[int, Node]] = [(each.at_us, _changed(each, names)) for each in view.limit_changes]
    moments += [
        (call.at_us, [h.b["halt"], f" · needs {money(call.estimate_nanos)} · {_asked(call, view)}"])
        for call in view.calls
        if call.action is Action.HALT
    ]
    moments.sort(key=lambda each: each[0])
    rows = [(when(at_us, frame.now_us, zone).removeprefix("today "), told) for at_us, told in moments]
    body = facts(rows) if rows else h.p(".foot")["No limit was changed since it began, and nothing was halted."]
    return section("Limit, and who changed it", body)


def _asked(call: Call, view: SessionView) -> str:
    """Who asked, for which tool, and from where."""
    client = client_name(call.asked_by or view.session.client)
    folder = call.folder or view.session.project
    place = f", in {folder_label(folder)}" if folder else ""
    return f"{agent_of(call)} asked for {cleaned(call.tool_name, 60)}, by {cleaned(client, 60)}{place}"


def _changed(change: LimitChange, names: dict[str, str]) -> Node:
    verb = "raised" if change.is_raise else "lowered"
    before, after = money(change.before, change.unit), money(change.limit, change.unit)
    why = f"by {change.door}, {cleaned(change.actor, 80)}: “{cleaned(change.reason, 200)}”"
    where = ""
    if change.inside is not None:
        where = f", inside session {cleaned(short_name(change.inside), 60)}"
    elif change.beneath is not None:
        where = f", beneath {cleaned(change.beneath, 60)}"
    return f"{after} · {verb} from {before} {why}{where} · {names.get(change.budget_id, '')}"


def record(view: SessionView, line: Mapping[str, Any]) -> Element:
    """Its line of the run log and how it ended."""
    session = view.session
    written = "when the session ends; as it stands" if session.is_open else "when it ended"
    said = {name: told for name, told in line.items() if name != _RECORDS}
    left_out = f"without its {plural(len(line.get(_RECORDS, ())), 'call')}, which stand below"
    rows: list[tuple[Node, Node]] = [
        ("run log", h.span(".mono")[cleaned(session.run_log or "", 500) or NONE]),
        (
            "its line",
            h.details[h.summary[f"written {written}, {left_out}"], h.code[cleaned(json.dumps(said), _LINE_MAX)]],
        ),
        ("gated by", "hooks of its client" if view.enforced else "nobody: only an agent that asks"),
    ]
    if session.end_cause:
        rows.append(("ended", cleaned(session.end_cause, 200)))
    if session.end_summary:
        rows.append(("outcome", cleaned(session.end_summary, 300)))
    return section("Record", facts(rows))
