"""How a command fails: one line on stderr, and an exit code that scripts can rely on.

0    done
1    failed: a check found something, the run log cannot be written, a fault of the program
2    wrong usage or an impossible value
3    no session, call or budget has that id
4    a conflict with what the ledger holds
5    the ledger cannot be opened, read or written
6    settings that cannot be used
7    only the user may do that, and an agent asked
8    stopped: a session may not go on (`budget check`), a run was stopped or every step is (`status --exit-code`)
10+  up to 18: what `verify` found to be broken, each kind its own
130  interrupted

A run that a halt ends leaves with its client's code: claude -p 143, codex exec 1, opencode run 1, qwen -p 130,
copilot -p 1 or 130, gemini -p 0 (docs/enforcement.md says when each is ended).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import click

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import (
    Conflict,
    InvalidArgument,
    KeyUnusable,
    LedgerUnavailable,
    NotFound,
    SettingsError,
    TallygateError,
    UsersOnly,
)
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.entrypoints.runnable import runnable
from tallygate.settings import Settings

if TYPE_CHECKING:
    from tallygate.app import App
    from tallygate.entrypoints.entrance import Entrance


# --- failures --------------------------------------------------------------------------------------------------------


FAILED, USAGE, STOPPED, INTERRUPTED = 1, 2, 8, 130
_CODES: tuple[tuple[type[TallygateError], int], ...] = (
    (InvalidArgument, USAGE),
    (NotFound, 3),
    (Conflict, 4),
    (LedgerUnavailable, 5),
    (SettingsError, 6),
    (UsersOnly, 7),
)
_LINE_MAX = 2000


def exit_code(error: TallygateError) -> int:
    """The exit code of an expected failure."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def sentence(error: TallygateError | str, hint: str = "") -> str:
    """A failure as the one line that a command says about it."""
    if isinstance(error, TallygateError):
        return f"tallygate: {cleaned(runnable(f'{error.message} {error.hint}'), _LINE_MAX)}"
    return f"tallygate: {cleaned(runnable(f'{error} {hint}'), _LINE_MAX)}"


class ReadSettings(Protocol):
    """Settings of this process, or of another environment and folder."""

    def __call__(self, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings: ...


class Compose(Protocol):
    """Puts the program together; `by` names who acts. The ledger is opened at its first use."""

    def __call__(self, settings: Settings, *, by: str) -> App: ...


@value(frozen=True, slots=True)
class Program:
    """The composition root as commands see it."""

    settings: ReadSettings
    compose: Compose
    parent: int = 0  # the process that started this one
    entrance: Entrance | None = None  # of the server that starts here

    def authority(self, settings: Settings | None = None, *, of: Loosening | None = None) -> Authority:
        """Who runs this command; with `of` it is refused at once where that is not the user."""
        from tallygate.entrypoints.cli.whose import authority_here

        settings = self.settings() if settings is None else settings
        found = authority_here(settings)
        public = locked_with(settings, of)
        if public is not None:
            from tallygate.entrypoints.cli.passphrase import TypedSeal

            found = replace(found, lock=TypedSeal(public, settings.paths.key_dir))
        if of is not None:
            found.require(of)
        return found

    @contextmanager
    def opened(self, settings: Settings | None = None, *, by: str = "cli") -> Iterator[App]:
        """The composed program for one command, closed at the end."""
        app = self.compose(self.settings() if settings is None else settings, by=by)
        try:
            yield app
            if app.settings.alerts and by == "cli":
                from tallygate.entrypoints.alerting import tell_now

                tell_now(app, lambda text: click.echo(sentence(text), err=True))
        finally:
            app.close()


def locked_with(settings: Settings, what: Loosening | None = None) -> str | None:
    """The public key of the lock in force; where the ledger cannot tell that, the one that is remembered beside it.

    For going on with another ledger a key that lies sealed here is enough. Raises `KeyUnusable` where a lock is
    remembered, and its key is not known.
    """
    if settings.lock is not None:
        return settings.lock.public
    if settings.unread is None and what not in (Loosening.LEDGER_ACCEPT, Loosening.RESTORE):
        return None
    from tallygate.attest.sealed import newest_in
    from tallygate.operations.lock_book import carried_lock, marks_of

    marks = marks_of(settings.paths)
    found = carried_lock(marks)
    public = newest_in(settings.paths.key_dir) if found is None else found.public
    if public is None and (left := marks.read()) and what is not None:
        raise KeyUnusable(
            f"The limits are locked with a key that is not known any more: {left[0].file} cannot be read.",
            hint="Restore that file from a backup; without it: tallygate unlock --lost",
            code="lock_key_lost",
        )
    return public


pass_program = click.make_pass_decorator(Program)


# The name under which a group looks up what it does without a command; nobody types it.
UNNAMED = "UNNAMED"


# What other tools and people call a command of ours; nearness of letters alone would name another one.
_ALSO_CALLED = {
    **dict.fromkeys(("blocks", "daily", "weekly", "monthly", "cost"), "usage"),
    **dict.fromkeys(("limit", "limits"), "budget add"),
}


class Commands(click.Group):
    """A group of commands that answers a misspelt one with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            known = self.list_commands(ctx)
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            if (other := _ALSO_CALLED.get(name)) is not None and other.split()[0] in known:
                close = [other]
            meant = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


class Unnamed(click.Command):
    """What a group does without a command; it appears as the group itself."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None and info_name == UNNAMED:
            info_name, parent = parent.info_name, parent.parent
        return super().make_context(info_name, args, parent, **extra)


class CommandsOr(Commands):
    """A group whose commands are few, and for which every other word is one of its unnamed command's.

    With `bare` that command also answers where there is no word at all.
    """

    def __init__(self, *args: Any, unnamed: Unnamed, bare: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self._unnamed, self._bare = unnamed, bare

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[0] in self.commands or args[0] in ctx.help_option_names if args else not self._bare
        return super().parse_args(ctx, args if named else [UNNAMED, *args])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._unnamed if cmd_name == UNNAMED else super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._unnamed.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Root(Commands):
    """The outermost group: every expected failure becomes one line on stderr and an exit code.

    `sections` say what commands are for, in which module of this package each is, and under which name; it is loaded
    when it is asked for, so that a command starts no slower for the others that there are.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Mapping[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sections = sections
        self._where = {name: where for section in sections.values() for name, where in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click hands it in
        return sorted(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._where:
            return None
        if cmd_name not in self.commands:
            module, _, name = self._where[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"{__package__}.{module}"), name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands that people give, by what they are for."""
        longest = max(map(len, self._where))
        for title, section in self._sections.items():
            found = [(name, self.get_command(ctx, name)) for name in section]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(longest), command.get_short_help_str(formatter.width - 6 - longest))
                        for name, command in found
                        if command is not None and not command.hidden
                    ]
                )

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run one command; always leaves through `SystemExit`."""
        if os.environ.get("NO_COLOR"):
            extra["color"] = False
        sys.exit(_code_of(partial(super().main, *args, **{**extra, "standalone_mode": False})))


def _code_of(run: Callable[[], Any]) -> int:
    try:
        answer = run()
        sys.stdout.flush()
    except TallygateError as error:
        click.echo(sentence(error), err=True)
        return exit_code(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())  # a group without a word: somebody looks what there is
        return 0
    except click.UsageError as error:
        path = "tallygate" if error.ctx is None else error.ctx.command_path
        click.echo(sentence(error.format_message(), f"Try '{path} --help'."), err=True)
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("tallygate: interrupted.", err=True)
        return INTERRUPTED
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # Whoever read the output has gone; without this the interpreter fails once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return answer if isinstance(answer, int) else 0
