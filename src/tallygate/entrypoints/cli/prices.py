"""`tallygate prices` and `tallygate estimate`: what models cost, and where those numbers come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from tallygate.core.costing import Certainty, Price, Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.money import TOKENS_MAX, format_amount, json_number
from tallygate.core.text import plural
from tallygate.core.typed import typed_count
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.program import CommandsOr, Program, Unnamed, pass_program
from tallygate.operations.runtime import Runtime
from tallygate.operations.views import prices as quote

TEXT_BYTES_MAX = 64 * 2**20


@click.command()
@click.argument("model")
@click.argument("input_text", metavar="INPUT|@FILE")
@click.argument("output_text", metavar="OUTPUT")
@as_json_option
@pass_program
def estimate(program: Program, model: str, input_text: str, output_text: str, as_json: bool) -> None:
    """Price a number of tokens.

    INPUT and OUTPUT are tokens of MODEL, such as 2000, 100k or 1.5M; @FILE counts those of a text (@- reads standard
    input) and says how. Nothing is recorded.
    """
    output_tokens = _tokens("OUTPUT", output_text)
    with program.opened() as app:
        input_tokens, counted_by = _input_tokens(app.runtime, input_text, model)
        tokens = Tokens(fresh_input=input_tokens, output=output_tokens)
        found = quote.estimate_cost(app.runtime, model, tokens)
    if as_json:
        output.document(
            {
                "model": model,
                "input_tokens": input_tokens,
                "counted_by": counted_by,
                "output_tokens": output_tokens,
                "cost_usd": json_number(found.usd_nanos),
                "cost_gbp": json_number(found.gbp_nanos),
                "exchange": found.exchange,
                "price_date": found.prices_as_of,
                "price": price_json(found.price),
            }
        )
        return
    usd, gbp = format_amount(found.usd_nanos), format_amount(found.gbp_nanos, "GBP")
    how = f" (counted by {counted_by})" if counted_by else ""
    given = plural(input_tokens, "token")
    click.echo(f"{usd} ({gbp}) for {given} in{how} and {output_tokens:,} out of {output.safe(model)}")
    click.echo(f"{_rates(found.price)}; {origin(found.price)}")
    _warn(found.price)


def _tokens(argument: str, given: str) -> int:
    return typed_count(argument, given, "tokens", most=TOKENS_MAX)


def _input_tokens(rt: Runtime, given: str, model: str) -> tuple[int, str | None]:
    """A number as it was given, or the tokens of a text with the way they were counted."""
    if not given.startswith("@"):
        return _tokens("INPUT", given), None
    try:
        with click.open_file(given[1:], "rb") as file:
            data = file.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{output.safe(given[1:])} cannot be read: {error.strerror}.") from error
    if len(data) > TEXT_BYTES_MAX:
        raise click.UsageError(f"{given[1:]} is larger than {TEXT_BYTES_MAX // 2**20} MiB.")
    counted = quote.count_text(rt, data.decode(errors="replace"), model)
    return counted.tokens, counted.method


@click.command(cls=Unnamed)
@click.argument("query", required=False)
@click.option("--provider", help="Only this provider of the list.")
@limit_option(40, 100_000)
@as_json_option
@pass_program
def listed(program: Program, query: str | None, provider: str | None, limit: int, as_json: bool) -> None:
    """Show what models cost.

    In dollars per million tokens. QUERY is a part of an id, or an id as an agent writes it.
    """
    with program.opened() as app:
        at = as_datetime(app.runtime.services.clock_us())
        found = quote.list_models(app.runtime, provider=provider, query=query, limit=limit)
        asked = quote.offered(app.runtime, query, at) if query and provider is None else None
        booked = quote.recorded(app.runtime, query) if query and provider is None else []
        info = app.runtime.workspace.prices.info(at)
    if as_json:
        output.document(
            {
                "unit": "USD per million tokens",
                "source": info.source,
                "version": info.version,
                "newest_price": info.newest_price,
                "asked": None if asked is None else {"model": query, **price_json(asked)},
                "recorded": [_recorded_json(each) for each in booked],
                "models": [
                    {"id": line.model, "provider": line.provider, **price_json(line.price)} for line in found.lines
                ],
                "matching": found.matching,
            }
        )
        return
    if asked is not None and (asked.known or not found.lines):
        _show_asked(query or "", asked)
    _show_recorded(booked)
    if found.lines:
        _table(found)
    if asked is not None and not asked.known and found.lines:  # a part of an id; or an id, whose lines a halt promises
        click.echo()
        _show_asked(query or "", asked)
    if found.matching > len(found.lines):
        output.aside(f"{found.matching - len(found.lines):,} more: give a query, --provider or a larger --limit.")
    elif not found.matching and (asked is None or asked.certainty is Certainty.ASSUMED):
        output.aside("no listed id fits that; a part of an id does.")


@click.group(
    "prices",
    cls=CommandsOr,
    unnamed=listed,
    bare=True,
    invoke_without_command=True,
    subcommand_metavar="[QUERY] | update [ARGS]... | reset",
)
def prices() -> None:
    """Show what models cost, or take a newer price list.

    In dollars per million tokens; the models you use come first. QUERY is a part of an id, or an id as an agent writes
    it. `tallygate prices update` fetches the list that genai-prices publishes,
    `tallygate prices reset` goes back to the one that came with the program.
    """


@prices.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Take it although prices move far, or models are gone from it.")
@as_json_option
@pass_program
def update(program: Program, *, file: Path | None, force: bool, as_json: bool) -> None:
    """Take a newer price list.

    Without FILE it is fetched from where genai-prices publishes it: one HTTPS request, and nothing is sent. With FILE
    it is read from there, without a network. It is checked, kept with its hash beside your data, and counts for what
    comes; what is booked stays as it was. Where a price moves more than five-fold, or a tenth of the models is gone, it
    is not taken without --force.
    """
    from tallygate.operations.setup.price_list import take_prices
    from tallygate.pricing.snapshot import SIZE_MAX
    from tallygate.statements.apis.asking import usable_address
    from tallygate.statements.apis.price_list import ADDRESS, ADDRESS_VARIABLE, fetched

    settings = program.settings()
    authority = program.authority(settings)
    named = os.environ.get(ADDRESS_VARIABLE)
    with program.opened(settings, by="prices") as app:
        if file is not None:
            raw, origin = _bytes_of(file, SIZE_MAX), str(file)
        else:
            origin = usable_address(ADDRESS_VARIABLE, named) if named else ADDRESS
            with output.working(f"asking {urlsplit(origin).hostname}"):
                raw = fetched(origin, app.runtime.services.clock_us, SIZE_MAX)
        taken = take_prices(
            app.runtime,
            raw,
            folder=settings.paths.data_dir,
            origin=origin,
            authority=authority,
            published=file is None and not named,
            force=force,
        )
    compared = taken.compared
    if as_json:
        output.document(
            {
                "new": taken.fresh,
                "sha256": taken.snapshot.digest,
                "fetched_at": taken.snapshot.fetched_at,
                "origin": taken.snapshot.origin,
                "models": compared.after,
                "models_gone": len(compared.gone),
                "rates_changed": len(compared.moved),
                "rates_lowered": len(compared.lowered),
            }
        )
        return
    if not taken.fresh:
        click.echo(f"The price list is the newest already: {plural(compared.after, 'model')}.")
        return
    moved, gone = plural(len(compared.moved), "rate"), plural(len(compared.gone), "model")
    click.echo(f"Prices taken: {plural(compared.after, 'model')}, {moved} changed, {gone} gone.")
    click.echo("They count for what comes.")
    click.echo(f"sha256 {taken.snapshot.digest}")
    output.aside("servers that run take them at their next start.")


@prices.command()
@as_json_option
@pass_program
def reset(program: Program, *, as_json: bool) -> None:
    """Go back to the price list that came with the program.

    What `tallygate prices update` took is removed. The list counts for what comes; what is booked stays as it was.
    """
    from tallygate.operations.setup.price_list import reset_prices

    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings, by="prices") as app:
        compared, was_kept = reset_prices(app.runtime, folder=settings.paths.data_dir, authority=authority)
    if as_json:
        output.document(
            {
                "new": was_kept,
                "models": compared.after,
                "models_gone": len(compared.gone),
                "rates_changed": len(compared.moved),
                "rates_lowered": len(compared.lowered),
            }
        )
        return
    models = plural(compared.after, "model")
    if not was_kept:
        click.echo(f"The price list that came with the program counts already: {models}.")
        return
    moved = plural(len(compared.moved), "rate")
    click.echo(f"The price list that came with the program counts again: {models}, {moved} changed.")
    output.aside("servers that run take it at their next start.")


def _bytes_of(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(most + 1)
    except OSError as error:
        raise click.UsageError(f"{output.safe(file)} cannot be read: {error.strerror}.") from error
    if len(raw) > most:
        raise click.UsageError(f"{output.safe(file)} is larger than {most // 2**20} MiB.")
    return raw


def price_json(price: Price) -> dict[str, Any]:
    """A price with its basis, for programs."""
    rates = price.rates
    return {
        "key": price.key,
        "source": price.source,
        "version": price.version,
        "valid_from": price.valid_from,
        "known": price.known,
        "approximate": price.approximate,
        "warning": price.warning,
        "input": json_number(rates.input_nanos),
        "output": json_number(rates.output_nanos),
        "cache_read": json_number(rates.cache_read_nanos),
        "cache_write_5m": json_number(rates.cache_write_5m_nanos),
        "cache_write_1h": json_number(rates.cache_write_1h_nanos),
        "tiers": [
            {
                "above_context_tokens": tier.above_context_tokens,
                "input": json_number(tier.rates.input_nanos),
                "output": json_number(tier.rates.output_nanos),
            }
            for tier in price.tiers
        ],
    }


def origin(price: Price) -> str:
    """Where a price comes from, in a few words."""
    since = f", since {price.valid_from}" if price.valid_from else ""
    named = f"{price.source} {price.version}".strip()
    return output.safe(f"{named}: {price.key}{since}", 300)


def _rates(price: Price) -> str:
    rates = price.rates
    tiers = "".join(
        f"; {output.rate(tier.rates.input_nanos)} in, {output.rate(tier.rates.output_nanos)} out above "
        f"{tier.above_context_tokens:,} tokens"
        for tier in price.tiers
    )
    return f"{output.rate(rates.input_nanos)} in, {output.rate(rates.output_nanos)} out per million tokens{tiers}"


def _show_asked(query: str, asked: Price) -> None:
    click.echo(f"{output.safe(query)}: {_rates(asked)}; {origin(asked)}")
    _warn(asked)


def _show_recorded(booked: Sequence[quote.BookedPrice]) -> None:
    """What responses got, with the lines that settle what is not sure, each id's once."""
    told: set[str] = set()
    for each in booked:
        sure = "" if each.certainty is Certainty.KNOWN else f", {each.certainty.value}"
        click.echo(
            f"recorded as {output.safe(each.model)}: {plural(each.responses, 'response')}, "
            f"{format_amount(each.nanos)}, at {output.rate(each.input_nanos)} in, {output.rate(each.output_nanos)} out "
            f"per million tokens; {output.safe(each.key, 300)}{sure}"
        )
        if each.to_paste and each.to_paste not in told:
            told.add(each.to_paste)
            click.echo("Put in what its provider bills, and add to config.toml:")
            click.echo("\n".join(output.safe(line, 600) for line in each.to_paste.splitlines()))


def _recorded_json(each: quote.BookedPrice) -> dict[str, Any]:
    return {
        "model": each.model,
        "responses": each.responses,
        "cost": json_number(each.nanos),
        "key": each.key,
        "certainty": each.certainty.value,
        "input": json_number(each.input_nanos),
        "output": json_number(each.output_nanos),
        "settings_to_add": each.to_paste or None,
    }


def _warn(price: Price) -> None:
    """A warning may hold lines to paste into settings; each is shown as a line of its own."""
    for number, line in enumerate((price.warning or "").splitlines()):
        click.echo(
            click.style("warning: ", fg="yellow") + output.safe(line, 600) if not number else output.safe(line, 600)
        )


def _table(found: quote.ModelList) -> None:
    lines = found.lines
    rates = [line.price.rates for line in lines]
    output.table(
        output.names("MODEL", [line.model for line in lines], 24),
        output.going(5, output.words("PROVIDER", [line.provider for line in lines])),
        output.rates("INPUT", [each.input_nanos for each in rates]),
        output.rates("OUTPUT", [each.output_nanos for each in rates]),
        output.going(3, output.rates("CACHE READ", [each.cache_read_nanos for each in rates])),
        output.going(4, output.rates("CACHE WRITE", [each.cache_write_5m_nanos for each in rates])),
        output.going(6, output.words("SOURCE", [_source(line.price) for line in lines])),
    )


def _source(price: Price) -> str:
    return f"{price.source} {price.version}".strip() + (", approximate" if price.approximate else "")
