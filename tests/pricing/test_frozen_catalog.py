"""The price list that stands in the package says what the library says, and counts only where that one is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot
from tests.pricing.ids import AT, HOSTILE

from tallygate.core.costing import STANDARD, Terms
from tallygate.pricing import catalog_index, frozen
from tallygate.pricing.catalog import Catalog
from tallygate.pricing.entries import RATE_NAMES, Tiered, is_match, newest_start, read
from tallygate.pricing.freezing import LICENSE, license_text, text
from tallygate.pricing.identifiers import identify
from tallygate.pricing.published import installed_version, rows_of

KNOWN = frozen.frozen()
HERE = read(KNOWN[1]) if KNOWN else []
THEIRS = get_snapshot().providers
PAIRS = [(ours, theirs) for here, there in zip(HERE, THEIRS, strict=False)
         for ours, theirs in zip(here.models, there.models, strict=False)]  # fmt: skip
# What the catalog is asked for: listed ids and such as no list has.
ASKED = [
    *sorted({model.id for model, _ in PAIRS})[::9],
    *sorted({f"{each.id}/{model.id}" for each in HERE for model in each.models})[::9],
    *("claude-opus-9", "claude-opus-4-7-fast", "gpt-9-codex", "qwen9-max", "acme/unheard-of", "azure/gpt-5"),
    *("openrouter/acme/x:free", "bedrock/eu.anthropic.claude-opus-4-7-v1:0", "groq/llama-3.3-70b-versatile"),
    *HOSTILE,
]
TERMS = [STANDARD, Terms(tier="batch"), Terms(tier="priority"), Terms(tier="flex"), Terms(geo="us")]


def moments(model: types.ModelInfo) -> list[datetime]:
    """Before, on and after every limit of a model's prices, as UTC and as another zone says them."""
    dated = [] if isinstance(model.prices, types.ModelPrice) else [each.constraint for each in model.prices]
    found = [AT]
    for limit in (*dated, *(each.constraint for each in model.price_variants or ())):
        if isinstance(limit, types.StartDateConstraint):
            found.append(datetime.combine(limit.start_date, time(), UTC))
        elif limit is not None:
            found += [
                datetime.combine(AT.date(), each.replace(tzinfo=UTC)) for each in (limit.start_time, limit.end_time)
            ]
    beside = [at + timedelta(microseconds=by) for at in found for by in (-1, 0, 1)]
    return [*beside, *(at.astimezone(timezone(timedelta(hours=-9))) for at in beside)]


def said(price: types.ModelPrice) -> dict[str, Decimal | Tiered]:
    """Their price in our words, without what is not asked for."""
    found: dict[str, Decimal | Tiered] = {}
    for name, rate in ((name.removesuffix("_mtok"), rate) for name, rate in vars(price).items()):
        if isinstance(rate, types.TieredPrices):
            found[name] = Tiered(rate.base, tuple((tier.start, tier.price) for tier in rate.tiers))
        elif rate is not None and name in RATE_NAMES:
            found[name] = rate
    return found


def test_the_list_in_the_package_is_that_of_the_installed_library():
    """Where this fails after an upgrade: python -m tallygate.pricing.freezing"""
    assert frozen.FILE.read_text(encoding="utf-8") == text()
    assert KNOWN is not None
    assert KNOWN[0] == installed_version()
    assert "Copyright" in license_text()
    assert LICENSE.read_text(encoding="utf-8") == license_text()
    assert frozen.FILE.stat().st_size < 400_000


def test_every_price_of_every_model_on_every_day_and_on_all_terms_is_the_librarys():
    assert [each.id for each in HERE] == [each.id for each in THEIRS]
    assert [(m.id, m.context_window) for each in HERE for m in each.models] == [
        (m.id, m.context_window) for each in THEIRS for m in each.models
    ]
    assert sum(each.count for each in HERE) == len(PAIRS) > 2000
    compared = 0
    for ours, theirs in PAIRS:
        for at in moments(theirs):
            for when in (None, *(each.when for each in theirs.price_variants or ()), {"service_tier": "none"}):
                assert ours.price_at(at, when).values() == said(theirs.get_prices(at, when)), (ours.id, at, when)
                compared += 1
    assert compared > 20_000


def test_every_entry_means_the_names_that_the_librarys_entry_means():
    for here, there in zip(HERE, THEIRS, strict=True):
        names = [each.id for each in here.models]
        names = [*names[::7], *(name.upper() for name in names[::11]), "claude-opus-4-7", "", *HOSTILE]
        assert list(here.fallbacks) == (there.fallback_model_providers or [])
        for ours, theirs in zip(here.models, there.models, strict=True):
            for name in (ours.id, *names):
                assert ours.is_match(name) == theirs.is_match(name), (ours.id, name)
        for name in (*names, *ASKED):
            is_theirs = there.model_match is not None and there.model_match.is_match(name)
            assert is_match(here.match, name) == is_theirs


def test_the_newest_price_of_a_day_is_the_librarys():
    starts = {each.constraint.start_date for _, m in PAIRS if isinstance(m.prices, list)
              for each in m.prices if isinstance(each.constraint, types.StartDateConstraint)}  # fmt: skip
    for day in (*starts, *(day - timedelta(1) for day in starts), date(2020, 1, 1)):
        assert newest_start(HERE, day) == max((each for each in starts if each <= day), default=None)


@pytest.fixture
def by_library(monkeypatch):
    """A catalog that the library was asked for, since nothing is frozen."""
    monkeypatch.setattr(catalog_index, "frozen", lambda: None)
    catalog = Catalog()
    assert catalog.version == installed_version()
    assert catalog.providers()
    monkeypatch.undo()
    return catalog


def test_the_catalog_answers_the_same_by_the_frozen_list_and_by_the_library(by_library, monkeypatch):
    catalog = Catalog()
    for at in (datetime(2023, 1, 1, tzinfo=UTC), datetime(2026, 3, 5, 2, tzinfo=UTC), AT):
        assert list(catalog.models(at)) == list(by_library.models(at))
        assert catalog.info(at) == by_library.info(at)

    def answers(of: Catalog, name: str) -> list[object]:
        id_ = identify(name)
        found = [(each.provider, each.model.id, each.note, each.speed, each.regional) for each in of.listings(id_)]
        prices = [of.find(id_, AT, certain=certain, terms=terms) for certain in (True, False) for terms in TERMS]
        return [found, prices, of.context_window(id_), of.lists_as_free(id_), of.relative(id_, AT), of.dearest(id_, AT)]

    for name in ASKED:
        assert answers(catalog, name) == answers(by_library, name), name


def test_hosts_are_looked_for_in_every_provider_that_may_list_a_name():
    """Lines are looked through before they are taken apart; that must leave no host out."""
    index = catalog_index.CatalogIndex(HERE)
    names = {name for each in HERE for name in index._names(each.id).bare}
    for name in sorted(names)[::5]:
        every = [(each.id, model) for each in HERE for model in index._names(each.id).bare.get(name, ())]
        assert index.hosts(name) == every


@pytest.mark.parametrize(
    "name", ['acme/say-"x"', "acme/back\\slash", "acme/\u0130-one", "Acme/\u212aimi", "acme/line\nbreak#", "#[1]"]
)
def test_a_name_that_text_has_to_write_otherwise_is_found_all_the_same(name):
    price = types.ModelPrice(input_mtok=Decimal(1))
    models = [
        types.ModelInfo(id=each, match=types.ClauseEquals(each), prices=price) for each in ("first", name, "last")
    ]
    here = read(rows_of([types.Provider(id="p", name="P", api_pattern="p", models=models)]))
    index = catalog_index.CatalogIndex(here)
    assert [model.id for model in here[0].models] == ["first", name, "last"]
    assert index.hosts(name.lower().rpartition("/")[2]) == [("p", here[0].models[1])]


def test_prices_that_hold_in_hours_of_another_zone_or_over_midnight_are_read_as_the_library_reads_them():
    zone = timezone(timedelta(hours=8))
    limits = [types.TimeOfDateConstraint(time(22), time(6, 30)),
              types.TimeOfDateConstraint(time(2, tzinfo=zone), time(9, tzinfo=zone)),
              types.TimeOfDateConstraint(time(1), time(1)), types.StartDateConstraint(date(2026, 2, 3))]  # fmt: skip
    first, other = types.ModelPrice(input_mtok=Decimal(1)), types.ModelPrice(input_mtok=Decimal("2.50"))
    for limit in limits:
        prices = [types.ConditionalPrice(prices=first), types.ConditionalPrice(limit, prices=other)]
        theirs = types.ModelInfo(id="A-b", match=types.ClauseEquals("A-b"), prices=prices)
        (ours,) = read(rows_of([types.Provider(id="p", name="P", api_pattern="p", models=[theirs])]))[0].models
        assert ours.match == "=a-b"
        for at in (datetime(2026, 2, 3, tzinfo=UTC) + timedelta(minutes=m) for m in range(-1440, 1440, 15)):
            assert ours.price_at(at).values() == said(theirs.get_prices(at))


@pytest.mark.parametrize("folders, version", [
    ([], None), ([["genai_prices-9.9.9.dist-info"]], "9.9.9"), ([["genai_prices"]], None),
    ([["mcp-2.dist-info"], ["genai_prices-1.0.dist-info"], ["genai_prices-2.0.dist-info"]], "1.0"),
    # What an upgrade that broke off leaves behind.
    ([["genai_prices-1.0.dist-info", "genai_prices-2.0.dist-info"]], None),
])  # fmt: skip
def test_the_version_installed_is_told_by_the_first_folder_that_has_one(tmp_path, folders, version):
    path = [str(tmp_path / "is-not-there"), str(tmp_path / "archive.zip")]
    (tmp_path / "archive.zip").write_bytes(b"")
    for number, names in enumerate(folders):
        for name in names:
            (tmp_path / str(number) / name).mkdir(parents=True)
        path.append(str(tmp_path / str(number)))
    assert frozen.installed_in(path) == version


def test_a_file_that_is_gone_damaged_or_of_another_version_is_not_taken(tmp_path):
    (tmp_path / "genai_prices-1.0.dist-info").mkdir()
    file, path = tmp_path / "list.txt", [str(tmp_path)]
    assert frozen.frozen_in(file, path) is None
    for content, taken in ((b"", None), (b"1.0\n", None), (b"\xff\n", None), (b"genai_prices-1.1\n#[]\n", None),
                           (b"genai_prices-1.0\n#[]\n", ("1.0", "#[]"))):  # fmt: skip
        file.write_bytes(content)
        assert frozen.frozen_in(file, path) == taken


def loaded(code: str, *path: str, **environ: str) -> list[str]:
    """What of the library a process has loaded after some lines."""
    lines = f"import sys; sys.path[:0] = {list(path)!r}\n{code}\n"
    lines += "print([m for m in ('genai_prices', 'pydantic', 'httpx2', 'asyncio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, env=environ, check=True)
    return done.stdout.splitlines()


PRICED = (
    "from datetime import datetime, UTC\nfrom tallygate.pricing.book import PriceBook, PricingSettings\n"
    "price = PriceBook(PricingSettings()).quote('claude-opus-4-7', datetime(2026, 11, 28, tzinfo=UTC))\n"
    "print(price.key, price.rates, price.version)"
)


def test_where_another_version_is_installed_the_library_says_what_it_lists(tmp_path):
    folder = tmp_path / "genai_prices-9.9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: genai-prices\nVersion: 9.9.9\n", encoding="utf-8")
    usual, other = loaded(PRICED), loaded(PRICED, str(tmp_path))
    assert usual[1] == "[]"
    assert other[1].startswith("['genai_prices'")
    assert other[0] == usual[0].replace(installed_version(), "9.9.9")


def test_a_hook_that_prices_a_step_by_itself_does_not_load_the_library(tmp_path):
    event = {"session_id": "s", "hook_event_name": "UserPromptSubmit", "prompt_id": "p", "prompt": "x"}
    code = f"import io, os; os.chdir({str(tmp_path)!r})\n"
    code += f"sys.stdin = io.TextIOWrapper(io.BytesIO({json.dumps(event).encode()!r}))\n"
    code += (
        "from tallygate.pricing.catalog import Catalog\n"
        "priced, prices = Catalog.price, []\n"
        "Catalog.price = lambda *given: prices.append(priced(*given)) or prices[-1]\n"
        "sys.argv = ['tallygate', 'hook', '--client', 'claude_code', '--event', 'UserPromptSubmit']\n"
        "from tallygate.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('\\n', any(prices))"
    )
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    # No hook makes a ledger.
    subprocess.run(
        [sys.executable, "-m", "tallygate", "sessions", "list"], capture_output=True, env=environ, check=True
    )
    *_, priced, found = loaded(code, **environ)
    assert (priced.strip(), found) == ("True", "[]")
