"""The terminal program behind `tallygate watch`; the one place that knows textual, which is installed on demand."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, ListItem, ListView, Static

from tallygate.core.authority import Authority
from tallygate.core.errors import TallygateError
from tallygate.core.moments import as_datetime
from tallygate.core.text import cleaned
from tallygate.core.typed import typed_amount
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.ending import end_by_user, flush_run_log
from tallygate.operations.views.overview import find_budget
from tallygate.operations.watching import Watched, WatchedSession, watched

EVERY_S = 2
_REASON_MAX = 500
_HEAD = "{open_} open {word}, {time} UTC"
_NOBODY = "No open session. What agents begin appears here."


class AskingScreen(ModalScreen[tuple[str, ...] | None]):
    """A question with some lines to fill in; Enter goes on, Escape leaves all as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, fields: tuple[str, ...]) -> None:
        super().__init__()
        self._question, self._fields = question, fields

    def compose(self) -> ComposeResult:
        with Vertical(id="asking"):
            yield Label(self._question, markup=False)
            for number, name in enumerate(self._fields):
                yield Input(placeholder=name, id=f"field{number}")
            yield Label("Enter: go on   Esc: leave it as it is", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        inputs = [*self.query(Input)]
        at = inputs.index(event.input)
        if at + 1 < len(inputs):
            inputs[at + 1].focus()
        else:
            _ = self.dismiss(tuple(each.value for each in inputs))


class Watching(App[None]):
    """Open sessions, what they have left and burn, and the last decisions; looked up anew every two seconds."""

    CSS = """
    #head { height: 1; text-style: bold; }
    #sessions { height: auto; max-height: 50%; }
    #sessions ListItem { height: auto; }
    #title { height: 1; text-style: bold; margin-top: 1; }
    AskingScreen { align: center middle; }
    #asking { width: 56; max-width: 100%; height: auto; border: solid $accent; padding: 0 1; background: $surface; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("r", "raise_limit", "Raise"),
        ("e", "end", "End"),
        ("q", "leave", "Leave"),
        ("ctrl+c", "leave", "Leave"),
    ]

    def __init__(self, rt: Runtime, authority: Authority, *, every_s: int = EVERY_S) -> None:
        super().__init__()
        self._rt, self._authority, self._every_s = rt, authority, every_s
        self._shown: Watched | None = None

    def compose(self) -> ComposeResult:
        yield Static("", id="head", markup=False)
        yield ListView(id="sessions")
        yield Static("Last decisions", id="title", markup=False)
        yield Static("", id="decisions", markup=False)
        yield Footer()

    async def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Not in a thread other than the first, where there are no signals.
            with suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.exit)
        await self.look()
        if self._every_s:
            self.set_interval(self._every_s, self.look)

    async def look(self) -> None:
        """Show how things stand now; a ledger that cannot be read is said, and looked at again."""
        try:
            found = await asyncio.to_thread(self._read)
        except TallygateError as error:
            self.query_one("#head", Static).update(cleaned(f"{error.message} {error.hint}", 300))
            return
        await self._show(found)

    def _read(self) -> Watched:
        return watched(self._rt)

    async def _show(self, found: Watched) -> None:
        before, self._shown = self._shown, found
        count = len(found.sessions)
        word = "session" if count == 1 else "sessions"
        head = _HEAD.format(open_=count, word=word, time=f"{as_datetime(found.at_us):%H:%M:%S}")
        self.query_one("#head", Static).update(head if count else _NOBODY)
        if before is None or before.sessions != found.sessions:
            listed = self.query_one("#sessions", ListView)
            chosen = listed.index
            await listed.clear()
            await listed.extend(ListItem(Static(_session_text(each), markup=False)) for each in found.sessions)
            if count:
                listed.index = min(chosen or 0, count - 1)
        lines = [
            f"{as_datetime(each.at_us):%H:%M:%S} {each.session} {cleaned(each.tool, 20)}: {cleaned(each.text, 200)}"
            for each in found.decisions
        ]
        self.query_one("#decisions", Static).update("\n".join(lines) or "None yet.")

    @property
    def _chosen(self) -> WatchedSession | None:
        at = self.query_one("#sessions", ListView).index
        sessions = () if self._shown is None else self._shown.sessions
        return sessions[at] if at is not None and at < len(sessions) else None

    def action_leave(self) -> None:
        self.exit()

    def action_raise_limit(self) -> None:
        chosen = self._chosen
        if chosen is None or chosen.budget_id is None:
            self.notify("No session with a limit is chosen.", markup=False)
            return
        budget_id = chosen.budget_id
        question = f"Raise the limit that stops {chosen.name}\n({chosen.left})\nby how much, and why?"

        async def answered(given: tuple[str, ...] | None) -> None:
            if given is not None:
                await self._do(lambda: self._raise(budget_id, *given))

        _ = self.push_screen(AskingScreen(question, ("amount to add", "reason")), answered)

    def action_end(self) -> None:
        chosen = self._chosen
        if chosen is None:
            self.notify("No session is chosen.", markup=False)
            return
        session_id = chosen.session_id

        async def answered(given: tuple[str, ...] | None) -> None:
            if given is None:
                return
            if given[0].strip().lower() != "yes":
                self.notify("It goes on: to end it, type yes.", markup=False)
                return
            await self._do(lambda: self._end(session_id))

        _ = self.push_screen(AskingScreen(f"End session {chosen.name}? Type yes.", ("type yes here",)), answered)

    async def _do(self, what: Callable[[], str]) -> None:
        """Do what was asked for; with a lock the passphrase is typed below, outside of this program."""
        try:
            with self.suspend() if self._authority.lock is not None else nullcontext():
                told = what()
        except TallygateError as error:
            self.notify(cleaned(f"{error.message} {error.hint}", 300), severity="error", timeout=15, markup=False)
            return
        self.notify(cleaned(told, 300), markup=False)
        await self.look()

    def _raise(self, budget_id: str, amount: str, reason: str) -> str:
        found = find_budget(self._rt, budget_id)
        added = typed_amount("amount", amount.strip(), found.unit)
        why = cleaned(reason, _REASON_MAX)
        done = raise_budget(self._rt, found.budget_id, added, reason=why, authority=self._authority, seen=None)
        return f"The limit of {done.name} is raised."

    def _end(self, session_id: str) -> str:
        end_by_user(self._rt, session_id, authority=self._authority)
        flush_run_log(self._rt)
        return "It has ended."


def _session_text(each: WatchedSession) -> str:
    """A session in two or three short lines, so that 60 columns hold them."""
    stopped = "  STOPPED" if each.is_stopped else ""
    lines = [f"{each.name}  {cleaned(each.client, 20)}  {each.spent}{stopped}", f"  {each.left}", f"  {each.ahead}"]
    return "\n".join(line for line in lines if line.strip())
