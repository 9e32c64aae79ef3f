"""The pages as a site: what is laid out for it, and what is refused; tests/e2e/test_site.py builds it."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    """A copy of what the site is made of."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for page in ROOT.glob("*.md"):
        shutil.copy(page, tmp_path)
    return tmp_path


def test_every_page_is_in_the_navigation_and_has_the_links_of_the_site(site, root, tmp_path):
    site.lay_out(root, tmp_path / "out")
    start = (tmp_path / "out" / "docs" / "index.md").read_text(encoding="utf-8")
    assert "(guides/install.md)" in start
    assert 'src="pictures/halt.svg"' in start
    assert "(../security.md" in site.as_page(
        "docs/guides/x.md", "[x](../../SECURITY.md)", site.TOP | {"docs/guides/x.md": "guides/x.md"}
    )
    assert (tmp_path / "out" / "docs" / "pictures" / "halt.svg").exists()
    assert "```json\n" in (tmp_path / "out" / "docs" / "guides" / "first-session.md").read_text(encoding="utf-8")


def test_a_page_that_the_navigation_lacks_is_named(site, root, tmp_path):
    (root / "docs" / "guides" / "new.md").write_text("# New\n", encoding="utf-8")
    with pytest.raises(site.Unfit, match=r"guides/new\.md"):
        site.lay_out(root, tmp_path / "out")


@pytest.mark.parametrize("line", ["[the code](../src/tallygate/app.py)", "![a picture](pictures/nowhere.svg)"])
def test_a_link_to_what_is_no_page_is_named(site, line):
    with pytest.raises(site.Unfit, match=r"docs/faq\.md: "):
        site.as_page("docs/faq.md", line, site.TOP | {"docs/faq.md": "faq.md"})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("index.html", '<script src="https://example.com/x.js"></script>'),
        ("index.html", '<link rel="stylesheet" href="//fonts.example.com/css">'),
        ("index.html", '<img srcset="https://example.com/x.png">'),
        ("index.html", '<pre class="mermaid">graph</pre>'),
        ("main.css", "@font-face{src:url(https://example.com/f.woff2)}"),
    ],
)
def test_a_site_that_asks_another_host_is_refused(site, tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(site.Unfit):
        site.alone(tmp_path)


def test_a_link_that_a_reader_follows_is_no_request(site, tmp_path):
    (tmp_path / "index.html").write_text('<a href="https://example.com/">x</a><img src="x.png">', encoding="utf-8")
    site.alone(tmp_path)
