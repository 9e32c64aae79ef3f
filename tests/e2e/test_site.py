"""The site is built strictly by the tool that `make docs` uses: what leads nowhere fails, and the pages do not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("TALLYGATE_DOCS_PYTHON") or ROOT / ".venv-docs" / "bin" / "python")


@pytest.fixture
def build(tmp_path):
    """Build the site of these pages with a line more in one of them."""
    assert PYTHON.exists(), f"{PYTHON} is not there; `make docs` makes it"

    def build_(line: str = "") -> subprocess.CompletedProcess[str]:
        shutil.copytree(ROOT / "docs", tmp_path / "docs")
        for page in ROOT.glob("*.md"):
            shutil.copy(page, tmp_path)
        with (tmp_path / "docs" / "network.md").open("a", encoding="utf-8") as page:
            page.write(f"\n{line}\n")
        argv = [str(PYTHON), str(tmp_path / "docs" / "site.py"), str(tmp_path)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    return build_


def test_the_pages_build_without_a_warning(build, tmp_path):
    done = build()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "docs" / "site" / "guides" / "install.html").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[a page](guides/nowhere.md)", "page does not exist"),
        ("[a part](faq.md#nowhere)", "anchor does not exist"),
        ('<img src="https://example.com/x.png">', "asks for https://example.com"),
    ],
)
def test_what_leads_nowhere_or_elsewhere_fails(build, line, said):
    done = build(line)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
