"""How alerts reach somebody: by a program of the user's, or by a POST; in bounded time, and told where it fails."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
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


class Alerting(Protocol):
    """A composed program with alerts."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def alerts(self) -> tuple[AlertRule, ...]: ...


def telling(environ: Mapping[str, str]) -> Tell:
    """Tells an alert as its rule says; `environ` is what a program of the user's finds around it."""

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
    values = {f"TALLY_ALERT_{name.upper()}": value for name, value in alert.values().items()}
    with tempfile.TemporaryFile() as said:
        try:
            started = subprocess.Popen(  # noqa: S603 - the user's own settings name it; no shell reads it
                alert.rule.run,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**environ, **values},
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


def _post(alert: DueAlert, address: str) -> str | None:
    """Post the news; what goes wrong is told without the address, which may be a secret."""
    import httpx2

    body, kind = alert.text.encode(), "text/plain; charset=utf-8"
    if not alert.rule.as_text:
        # Slack takes `text`, Discord `content`.
        body, kind = json.dumps({**alert.values(), "content": alert.text}).encode(), "application/json"
    try:
        with httpx2.Client(timeout=POST_S, follow_redirects=False) as client:
            answer = client.post(address, content=body, headers={"content-type": kind, "title": "Tallygate"})
    except httpx2.HTTPError as error:
        return f"{alert.rule.name}: {type(error).__name__}"
    except (httpx2.InvalidURL, ValueError, OSError):
        return f"{alert.rule.name}: the address cannot be used"
    return None if answer.is_success else f"{alert.rule.name}: answered {answer.status_code}"
