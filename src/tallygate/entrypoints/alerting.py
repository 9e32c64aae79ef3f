"""How alerts reach somebody: by a program of the user's, or by a POST; in bounded time, and told where it fails."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tallygate.core.alerts import AlertRule, DueAlert
from tallygate.core.errors import TallygateError
from tallygate.core.text import cleaned
from tallygate.operations.alerts import Tell, tell_due
from tallygate.operations.runtime import Runtime, every_tenant

log = logging.getLogger("tallygate")

RUN_S, POST_S = 10, 5
EVERY_S, LOOKS_ANYWAY = 5, 12
_SAID_BYTES = 2000
# Where a program is looked for that is named without a folder, besides ~/.local/bin.
_FOLDERS = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_SHOWN_BY = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")


class Alerting(Protocol):
    """A composed program with alerts."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def alerts(self) -> tuple[AlertRule, ...]: ...


def telling(environ: Mapping[str, str]) -> Tell:
    """Tells an alert as its rule says; a program of the user's gets what says where to show something of `environ`."""

    def tell(alert: DueAlert) -> str | None:
        return _run(alert, environ) if alert.rule.post is None else _post(alert, alert.rule.post)

    return tell


def tell_now(app: Alerting, say: Callable[[str], None]) -> None:
    """Tell what is due; whatever goes wrong is said, and nothing else stops for it."""
    if not app.alerts:
        return
    try:
        for tenant in every_tenant(app.runtime):
            for alert, error in tell_due(tenant, app.alerts, telling(tenant.workspace.around.environ)):
                say(f"An alert could not be told ({alert.rule.name}): {cleaned(error, 300)}")
    except TallygateError as error:
        say(f"Alerts could not be looked at: {error}")


def keep_telling(app: Alerting, ending: threading.Event) -> None:
    """Tell what becomes due while a server runs: looked at after something was written, and once a minute."""
    seen: object = None
    for rounds in itertools.count():
        if ending.wait(EVERY_S):
            return
        try:
            now = app.runtime.services.ledger.others_wrote(), _own_writes(app.runtime)
            if now != seen or rounds % LOOKS_ANYWAY == 0:
                tell_now(app, lambda text: log.warning("%s", text))
            seen = now
        except TallygateError as error:
            log.warning("Alerts could not be looked at: %s", error)
        except Exception:
            log.exception("Alerts could not be looked at.")


def _own_writes(runtime: Runtime) -> int:
    with runtime.reading() as reader:
        return reader.head().seq


def _run(alert: DueAlert, environ: Mapping[str, str]) -> str | None:
    """Start the program without a shell, in a group of its own that is ended where it takes too long."""
    home = _home()
    around = _around_a_program(environ, home)
    values = {f"TALLY_ALERT_{name.upper()}": value for name, value in alert.values().items()}
    program = _program(alert.rule.run[0], home, around)
    if program is None:
        return f"{alert.rule.name} cannot be started: it is in none of the folders {around.get('PATH', '')}"
    with tempfile.TemporaryFile() as said:
        try:
            started = subprocess.Popen(  # noqa: S603 - the user's own settings name it; no shell reads it
                [program, *alert.rule.run[1:]],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**around, **values},
                cwd=home if home.is_dir() else os.sep,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{alert.rule.name} cannot be started: {getattr(error, 'strerror', None) or error}"
        try:
            code = started.wait(RUN_S)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            return f"{alert.rule.name} was ended after {RUN_S} seconds"
        if code == 0:
            return None
        said.seek(0)
        text = cleaned(said.read(_SAID_BYTES).decode(errors="replace"), 200)
        return f"{alert.rule.name} left with {code}{': ' if text else ''}{text}"


def _home() -> Path:
    """The home folder by the system's list of users, where there is one: a variable could name another."""
    try:
        import pwd
    except ImportError:  # Windows
        return Path(os.sep)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path(os.sep)


def _around_a_program(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """What a program of the user's finds around it.

    The variables are those of whatever client noticed the alert, and a project can set some of them: of these the
    program gets what says where to show something, and none that says which code runs (PATH, LD_PRELOAD, PYTHONPATH).
    """
    if os.name != "posix":
        return {**environ}
    around = {name: environ[name] for name in _SHOWN_BY if name in environ}
    around |= {"HOME": str(home), "PATH": os.pathsep.join([str(home / ".local" / "bin"), *_FOLDERS])}
    runtime = Path(f"/run/user/{os.getuid()}")
    if runtime.is_dir():  # where a desktop's messages go: said by the system, not by the variables
        around |= {"XDG_RUNTIME_DIR": str(runtime), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
    return around


def _program(named: str, home: Path, around: Mapping[str, str]) -> str | None:
    """The file that a rule's first word means: below the home folder, a whole path, or a name in the usual folders."""
    if named.startswith("~/"):
        return str(home / named[2:])
    if Path(named).is_absolute():
        return named
    return shutil.which(named, path=around.get("PATH"))


def _post(alert: DueAlert, address: str) -> str | None:
    """Post the news; what goes wrong is told without the address, which may be a secret.

    Neither a proxy nor certificates that variables name are gone by, as a project can set them. A receiver that sends
    a byte now and then would never be given up by the time that one reading may take: the whole has one, too.
    """
    import httpx2

    body, kind = alert.text.encode(), "text/plain; charset=utf-8"
    if not alert.rule.as_text:
        # Slack takes `text`, Discord `content`.
        body, kind = json.dumps({**alert.values(), "content": alert.text}).encode(), "application/json"
    headers = {"content-type": kind, "title": "Tallygate"}
    client = httpx2.Client(timeout=POST_S, follow_redirects=False, trust_env=False)
    came: list[str | None] = []

    def send() -> None:
        try:
            # Of the answer only its status counts: the rest is not read.
            with client.stream("POST", address, content=body, headers=headers) as answer:
                came.append(None if answer.is_success else f"{alert.rule.name}: answered {answer.status_code}")
        except httpx2.HTTPError as error:
            came.append(f"{alert.rule.name}: {type(error).__name__}")
        except Exception:  # an address that cannot be used, or the line is closed beneath it
            log.debug("A post failed.", exc_info=True)
            came.append(f"{alert.rule.name}: the address cannot be used")

    # A thread of its own, which the process does not wait for at its end.
    sender = threading.Thread(target=send, name="tallygate-post", daemon=True)
    sender.start()
    sender.join(POST_S)
    client.close()
    return came[0] if came else f"{alert.rule.name}: no answer within {POST_S} seconds"
