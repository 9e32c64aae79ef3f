"""Draw the pictures of the page: `python -m tests.e2e.page.pictures`, from the made-up month at a moment of its own."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from playwright.sync_api import sync_playwright
from tests.e2e.install import browser
from tests.entrypoints.page.conftest import KEY, served

from tallygate.app import compose
from tallygate.core.moments import microseconds
from tallygate.entrypoints.page.demo_month import demo_month
from tallygate.entrypoints.page.document import PageAround
from tallygate.settings import UserPlaces, load_settings

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "pictures"
ZONE = ZoneInfo("Europe/Berlin")
# A working day in the middle of the afternoon, so that each picture is drawn alike whenever it is.
AT = datetime(2026, 11, 26, 14, 31, tzinfo=ZONE)
PAGES = {"page-now": "now", "page-gate": "gate?period=all", "page-bills": "bills?period=all"}
THEMES = {"": "light", "-dark": "dark"}
WIDTH, HEIGHT, QUALITY = 1280, 860, 70


def main() -> int:
    """Draw every page in both themes."""
    # Commands are shown as they are typed where the program is installed: no picture has a folder of this machine.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallygate-pictures-")))
        app = compose(load_settings({}, folder, UserPlaces(folder, folder / "config", folder / "data")), by="page")
        stack.callback(app.close)
        then = replace(app.runtime.services, clock_us=lambda: microseconds(AT))
        rt = stack.enter_context(demo_month(replace(app.runtime, services=then), folder, ZONE))
        page = stack.enter_context(served(rt, folder, around=PageAround(ZONE, is_demo=True)))
        driver = stack.enter_context(sync_playwright())
        program = driver.chromium.launch(
            executable_path=browser(), args=["--no-sandbox"] if os.geteuid() == 0 else [], chromium_sandbox=False
        )
        stack.callback(program.close)
        for name, address in PAGES.items():
            assert str(Path(sys.executable).parent) not in page.get(*address.split("?")[:1]).text
            for ending, scheme in THEMES.items():
                context = program.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
                key = {"name": "tallygate", "value": KEY, "domain": "127.0.0.1", "path": page.door.base}
                context.add_cookies([key])
                tab = context.new_page()
                tab.goto(f"{page.door.origin}{page.door.base}{address}")
                # WebP: a third of a PNG, and every browser of the last years shows it.
                asked = {"format": "webp", "quality": QUALITY}
                taken = context.new_cdp_session(tab).send("Page.captureScreenshot", asked)
                file = FOLDER / f"{name}{ending}.webp"
                file.write_bytes(base64.b64decode(taken["data"]))
                context.close()
                sys.stdout.write(f"wrote {file.relative_to(ROOT)}: {file.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
