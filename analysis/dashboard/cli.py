"""The command that serves the dashboard."""

import sys

import click

from events.cli import store_option
from experiments.cli import configs_option

MIN_TOKEN = 12  # characters


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8010, show_default=True, help="0 for any free port.")
@click.option("--token", envvar="CROSSLIFT_DASHBOARD_TOKEN", help="Opens the pages; by default a new one is printed.")
@click.option("--server", metavar="URL", help="A running `crosslift serve`: show its rejected events too.")
@configs_option
@store_option
def dashboard(port: int, token: str | None, server: str | None, configs: str, store_url: str) -> None:
    """
    Show all experiments live in a browser on this machine, until interrupted.

    It listens on the loopback address only, on its own port. Reports are computed in the background.
    """
    import secrets

    from analysis.dashboard.app import create_dashboard, serve, signer_of
    from analysis.dashboard.background import Background
    from events.cli import existing_store

    if token is not None and len(token) < MIN_TOKEN:
        raise click.UsageError(f"--token: must have at least {MIN_TOKEN} characters, got {len(token)}")
    with existing_store(store_url) as store:
        store_name = store.url  # without a password
    opening_token = token or secrets.token_urlsafe(18)
    background = Background(configs, store_url, server)
    app = create_dashboard(background, opening_token, signer_of(store_url))

    def on_start(bound_port: int) -> None:
        click.echo(f"crosslift dashboard: http://127.0.0.1:{bound_port} ({store_name}); Ctrl-C ends it")
        click.echo("Use the token of --token or CROSSLIFT_DASHBOARD_TOKEN." if token else f"Token: {opening_token}")
        sys.stdout.flush()
        background.start()

    try:
        serve(app, port, on_start)
    except OSError as error:
        raise click.UsageError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from None
    except KeyboardInterrupt:
        pass
    finally:
        background.stop()
