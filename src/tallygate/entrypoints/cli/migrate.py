"""`tallygate migrate`: the tables of a ledger that is in a database."""

from __future__ import annotations

import click

from tallygate.entrypoints.cli.program import Program, pass_program


@click.command()
@click.option("--roles", is_flag=True, help="Print the script that gives roles their rights, and change nothing.")
@pass_program
def migrate(program: Program, roles: bool) -> None:
    """Make or update the tables of a team's database.

    Run it as the owner of the database, with [paths] database = "postgresql://..." in your settings file. Servers that
    run go on: a migration says from which version of the program on its tables can be used. A ledger in a file brings
    itself up to date.
    """
    from tallygate.ledger.postgres.opening import migrate_server
    from tallygate.ledger.shapes import postgres_roles

    if roles:
        click.echo(postgres_roles(), nl=False)
        return
    settings = program.settings()
    if settings.paths.server is None:
        click.echo(f"The ledger is the file {settings.paths.database}, which is brought up to date when it is opened.")
        return
    with program.opened(settings, by="migrate") as app:
        services = app.runtime.services
        before, now = migrate_server(
            settings.paths.server, new_ledger_id=lambda: services.new_token(16), at_us=services.clock_us()
        )
    done = f"has schema {now} already" if before == now else f"has schema {now} now"
    click.echo(f"{settings.paths.ledger_name} {done}{'' if before in (0, now) else f'; it had {before}'}.")
    click.echo("Rights for servers and readers: tallygate migrate --roles | psql -d DATABASE")
