"""Pages fit together: links resolve, what they name exists, nothing that users meet is left out."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from tests.docs.pages import PAGES, ROOT, blocks

from tallygate.operations.bills.keep import SOURCES
from tallygate.settings import sections, variables
from tallygate.statements.apis.price_list import ADDRESS

PACKAGE = ROOT / "src" / "tallygate"
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named(page):
    return page.relative_to(ROOT).as_posix()


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(text):
    titles = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_between_pages_leads_somewhere(page):
    for target in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{named(page)}: {target}"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{named(page)}: {target}"


def test_every_page_can_be_reached_from_the_readme_or_stands_beside_one_that_can():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in _LINK.findall(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    folders = {page.parent for page in reached}
    assert [named(page) for page in PAGES if page not in reached and page.parent not in folders] == []


def test_every_test_that_the_architecture_names_exists():
    claimed = set(re.findall(r"`(test_\w+)`", text_of("docs/architecture.md")))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert claimed
    assert {name for name in claimed if f"def {name}(" not in sources} == set()


def test_the_tree_of_the_architecture_has_every_package_and_no_file_that_is_gone():
    (tree, *_) = blocks(ROOT / "docs" / "architecture.md", "text")
    for name in set(re.findall(r"(\w+)\.py\b", tree.text)):
        assert list(PACKAGE.rglob(f"{name}.py")), name
    for package in (path.parent for path in PACKAGE.glob("*/__init__.py")):
        assert f"{package.name}/" in tree.text, package.name


def test_the_guide_speaks_of_every_setting_and_variable():
    guide = text_of("docs/reference/settings.md")
    tables = [sections.TOP, *sections.SECTIONS.values(), sections.PRICE, sections.DISCOUNT, sections.UNKNOWN_PRICE]
    for table in [*tables, sections.PRICING, sections.EXCHANGE, sections.PATHS]:
        for key in table:
            assert f"`{key}`" in guide, key
    named = [
        *variables.VARIABLES,
        *(name for names in variables.PATH_VARIABLES.values() for name in names),
        *variables.USER_FILE_VARIABLES,
        *variables.PROJECT_VARIABLES,
        *variables.CALIBRATION_VARIABLES,
    ]
    assert [name for name in named if f"`{name}`" not in guide] == []


def test_troubleshooting_says_what_to_do_about_every_error_code():
    assert "(../reference/errors.md)" in text_of("docs/guides/troubleshooting.md")
    rows = re.findall(r"^\| `(\w+)` \| \d+ \| (.+) \| (.*) \|$", text_of("docs/reference/errors.md"), re.MULTILINE)
    assert len(rows) > 20
    assert [code for code, meaning, to_do in rows if not meaning or not to_do] == []


def test_no_page_promises_a_command_that_is_not_there():
    known = set(re.findall(r"^## `tallygate ([^`]+)`", text_of("docs/reference/commands.md"), re.MULTILINE))
    known.add("raise")  # a line for a client's prompt: tests/operations/test_prompted.py
    for page in PAGES:
        for said in re.findall(r"`tallygate ([a-z][a-z0-9-]*(?: [a-z]+)?)", page.read_text(encoding="utf-8")):
            assert said in known or said.split()[0] in known, f"{named(page)}: tallygate {said}"


def test_everything_that_reaches_out_is_on_the_page_of_it():
    page = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    asking = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py") if _asks(path)}
    assert asking == {
        "tallygate/entrypoints/alerting.py",  # where the user's own settings file names an address
        "tallygate/statements/apis/asking.py",
        "tallygate/statements/apis/price_list.py",
    }
    assert "`[[alert]]`" in page
    for variable in variables.ADDRESS_VARIABLES:
        assert f"`{variable}`" in page, variable
    for host in (ADDRESS, *(source.provider.address for source in SOURCES.values())):
        assert urlsplit(host).hostname in page


def _asks(path):
    words = ("httpx2", "\nimport requests", "urlopen", "http.client", "create_connection", "aiohttp")
    return any(word in path.read_text(encoding="utf-8") for word in words)


_CLAIMED = re.compile(r"`(?:tests/)?((?:[\w-]+/)*test_\w+\.py)(?:::(test_\w+))?`")


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/enforcement.md"])
def test_every_test_that_a_claim_is_held_by_exists(page):
    text = text_of(page)
    claims = _CLAIMED.findall(text)
    assert len(claims) > 1
    assert len(claims) == len(re.findall(r"\btest_\w+\.py", text)), "each is written as file, or file::test"
    for file, name in claims:
        path = ROOT / "tests" / file
        assert path.is_file(), file
        tests = re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert name in tests if name else tests, f"{file}::{name}"


def test_the_pictures_of_the_readme_are_there_for_light_and_dark_pages_and_fetch_nothing():
    named = re.findall(r'(?:src|srcset)="([^"]+)"', text_of("README.md"))
    assert len(named) == 6
    for name in named:
        if name.endswith(".webp"):
            taken = (ROOT / name).read_bytes()
            assert (taken[:4], taken[8:12]) == (b"RIFF", b"WEBP")
            assert len(taken) < 80_000, "a picture is looked at by everybody"
            continue
        drawn = text_of(name)
        assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
        assert "$ tallygate" in drawn
        assert re.findall(r"(?:href|src|url)\s*[=(]", drawn) == []
