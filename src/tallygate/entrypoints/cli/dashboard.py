"""`tallygate dashboard`: the page in the user's own browser, on loopback, until it is ended."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from tallygate.core.authority import Authority, EntryDoor, Loosening
from tallygate.core.errors import TallygateError
from tallygate.core.proof import Mark
from tallygate.core.text import cleaned
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.sync import read_news, reading_first
from tallygate.settings import Settings

if TYPE_CHECKING:
    from tallygate.app import App
    from tallygate.operations.runtime import Runtime


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="The port on loopback; any that is free by default."
)
@click.option("--no-open", "quiet", is_flag=True, help="Start no browser; say which file opens the page.")
@click.option("--demo", is_flag=True, help="Show a made-up month, in a ledger of its own that is deleted at the end.")
@reading_first
@pass_program
def dashboard(program: Program, *, port: int, quiet: bool, demo: bool, syncing: bool) -> None:
    """Show the page in your browser, until Ctrl-C.

    It is served on this machine alone, to the browser that opens a file of yours; the file is good once, for a minute.
    """
    settings = program.settings()
    authority = program.authority(settings)
    # To look needs no passphrase; what loosens is refused on the page while the limits are locked.
    replace(authority, lock=None).require(Loosening.DASHBOARD)
    authority = replace(authority, door=EntryDoor.PAGE, lock=None)
    with program.opened(settings, by="page") as app:
        if demo:
            _serve_demo(app, settings, authority, port, quiet=quiet)
            return
        if syncing:
            with suppress(TallygateError):  # the page says what is wrong with the ledger
                read_news(app.runtime)
        _serve(app.runtime, settings, authority, port, quiet=quiet, anchor=lambda: app.anchor.read().newest)


def _serve_demo(app: App, settings: Settings, authority: Authority, port: int, *, quiet: bool) -> None:
    from tallygate.entrypoints.page.demo_house import in_steps
    from tallygate.entrypoints.page.demo_month import demo_month

    zone = zone_of(shown_zone(settings))
    with TemporaryDirectory(prefix="tallygate-demo-") as folder:
        if not sys.stderr.isatty():
            click.echo("Making a month of its own; this takes a few seconds.", err=True)
        told = in_steps(_say_share)
        with output.working("making a month"), ExitStack() as stack:
            rt = stack.enter_context(demo_month(app.runtime, Path(folder), zone, told=told))
            kept = stack.pop_all()
        with kept:
            _serve(rt, settings, authority, port, quiet=quiet, is_demo=True)


def _say_share(percent: int) -> None:
    """How far the month is, where nothing else shows that something is done."""
    if not sys.stderr.isatty():
        click.echo(f"{percent} %", err=True)


def _serve(
    rt: Runtime,
    settings: Settings,
    authority: Authority,
    port: int,
    *,
    quiet: bool,
    is_demo: bool = False,
    anchor: Callable[[], Mark | None] = lambda: None,
) -> None:
    from tallygate.entrypoints.page.demo_house import DemoHouse
    from tallygate.entrypoints.page.document import PageAround
    from tallygate.entrypoints.page.door import DoorFile, new_door
    from tallygate.entrypoints.page.routes import Pages, page_app
    from tallygate.entrypoints.page.serve import address_of, listening, serve_page

    ear = listening(port)
    door = new_door(int(ear.getsockname()[1]), rt.services.steady_us(), rt.services.new_token)
    file = DoorFile(settings.paths.data_dir, rt.services.new_token(8))
    file.write(door.page)
    around = PageAround(zone_of(shown_zone(settings)), is_demo, () if is_demo else _notices(settings))
    pages = Pages(rt, around, authority, door, is_demo or settings.paths.is_installed, anchor)

    def ready() -> None:
        if not quiet and can_show(os.environ):
            webbrowser.open(address_of(file.path))
        click.echo(f"Open within a minute, in your browser: {output.safe(file.path, 2000)}")
        click.echo("It is good once. The page runs until you press Ctrl-C.")
        sys.stdout.flush()

    house = DemoHouse(rt, around.zone)
    try:
        serve_page(page_app(pages, file, house), ear, door.closing, file.remove, ready)
    finally:
        house.close()
    click.echo("The page is closed.")


def can_show(environ: Mapping[str, str]) -> bool:
    """Whether a browser with a window can be started; one of text would take this terminal."""
    return not sys.platform.startswith("linux") or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


def _notices(settings: Settings) -> tuple[str, ...]:
    """What keeps every step of this folder's project from being let through."""
    if settings.fault is None:
        return ()
    return (
        f"Every step in this project is stopped until its settings can be read. {cleaned(str(settings.fault), 500)}",
    )
