"""The commands that run the server: serve, keys, preview, quarantine, webhooks."""

import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from events.cli import existing_store, store_option
from experiments.cli import configs_option, format_option
from server.ingest.webhooks.cli import webhooks

if TYPE_CHECKING:
    from events.stores.protocol import Store

THREADS = 32  # of a worker: most wait for the disk, and the more wait the more share one commit
STOP_S = 10  # a worker that was still starting when it was told to stop may never answer that


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is this machine only."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option(
    "--rate-limit", type=click.FloatRange(0.1), help="Requests a second that each key may make; unlimited by default."
)
@configs_option
@store_option
def serve(host: str, port: int, workers: int, rate_limit: float | None, configs: str, store_url: str) -> None:
    """Serve assignments and collect events, until interrupted."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    from experiments.declarations.loading import load

    load(configs)  # faulty declarations and an unusable store are reported once, not by every worker
    with _open(store_url) as store:
        store_name = store.url  # without a password
        if not store.keys():
            click.echo(
                f"There are no keys yet, so every request will be refused. Create them: `crosslift keys --store {store_name}`",
                err=True,
            )
    address, port = _check_address(host, port)
    os.environ["CROSSLIFT_CONFIGS"] = os.path.abspath(configs)
    os.environ["CROSSLIFT_STORE"] = store_url
    os.environ["CROSSLIFT_RATE_LIMIT"] = "" if rate_limit is None else str(rate_limit / workers)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="crosslift-metrics-")
    url_host = f"[{address}]" if ":" in address else address
    count = f"{workers} worker{'s' if workers > 1 else ''}"
    click.echo(f"crosslift starts on http://{url_host}:{port} ({count}, {store_name}); Ctrl-C ends it")
    logging.getLogger("_granian").addFilter(lambda record: "Python threads" not in record.getMessage())
    Server(
        "server.app:app_from_environment",
        factory=True,
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=THREADS,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_S,
        log_level=LogLevels.warning,
        websockets=False,
    ).serve()
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def _check_address(host: str, port: int) -> tuple[str, int]:
    """
    Return the address of a host, and the port, or a free one for 0.

    Raises:
        UsageError: The address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host or "none", port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family) as bound:
            return str(address[0]), int(bound.getsockname()[1])
    except OSError as error:
        raise click.UsageError(
            f"--host, --port: must be an address to listen on, got {host or 'no host'}:{port}: {error.strerror}"
        ) from None


@click.group(invoke_without_command=True)
@store_option
@format_option
@click.pass_context
def keys(context: click.Context, store_url: str, format_: str) -> None:
    """
    List the API keys; create a first pair where there are none.

    A key is shown once, when it is created: the store keeps only its SHA-256.
    """
    if context.invoked_subcommand is not None:
        return
    with _open(store_url) as store:
        rows = store.keys()
        if not rows:
            _create(store, format_)
            return
    if format_ == "json":
        values = [
            {name: getattr(row, name) for name in ("hint", "kind", "created_at_ms", "revoked_at_ms")} for row in rows
        ]
        click.echo(json.dumps({"keys": values}, indent=2))
        return
    for row in rows:
        created = time.strftime("%Y-%m-%d", time.gmtime(row.created_at_ms / 1000))
        click.echo(f"{row.hint}…  {row.kind:<11}  created {created}  {'revoked' if row.revoked_at_ms else 'in use'}")
    click.echo("\n`crosslift keys create` creates a new pair; a key is shown only when it is created.")


def _inherited(name: str, default: str) -> Callable[[], str]:
    """Return an option of `crosslift keys` itself where the subcommand does not have it: `keys --store URL create`."""
    return lambda: (click.get_current_context().parent or click.get_current_context()).params.get(name) or default


_store_option = click.option(
    "--store", "store_url", default=_inherited("store_url", ""), metavar="URL", help="Store of the keys."
)
_format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default=_inherited("format_", "text")
)


@keys.command()
@_store_option
@_format_option
def create(store_url: str, format_: str) -> None:
    """Create a publishable and a secret key, and show them once."""
    with _open(store_url) as store:
        _create(store, format_)


@keys.command()
@click.argument("hint")
@_store_option
def revoke(hint: str, store_url: str) -> None:
    """Revoke the key that `crosslift keys` lists as HINT."""
    from events.clock import now_ms

    with existing_store(store_url) as store:
        if not store.revoke_key(hint.rstrip("…"), now_ms()):
            raise click.UsageError(f"HINT: must be a key in use that `crosslift keys` lists, got {hint!r}")
    click.echo("Revoked; servers refuse it within two seconds.")


def _create(store: "Store", format_: str) -> None:
    from events.clock import now_ms
    from server.http.keys import create_key

    at_ms = now_ms()
    publishable, secret = create_key(store, "publishable", at_ms), create_key(store, "secret", at_ms)
    if format_ == "json":
        click.echo(json.dumps({"publishable": publishable, "secret": secret}, indent=2))
        return
    click.echo(f"publishable  {publishable}   for storefronts: assignments, exposures, interactions")
    click.echo(f"secret       {secret}   for servers: orders too; keep it secret")


def _open(store_url: str) -> "closing[Store]":
    from events.stores.open_store import open_store

    return closing(open_store(store_url))


@click.command()
@click.argument("key")
@click.argument("variant")
@click.argument("url")
@click.option(
    "--hours", type=click.IntRange(1, 24 * 30), default=24, show_default=True, help="How long the link works."
)
@configs_option
@store_option
def preview(key: str, variant: str, url: str, hours: int, configs: str, store_url: str) -> None:
    """
    Print a link to URL that shows a VARIANT of experiment KEY to anybody who opens it.

    The storefront passes the link's `crosslift_preview` on as `preview`. A preview is never logged as an exposure.
    """
    from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

    from experiments.assignment.tokens import Signer
    from experiments.declarations.loading import load
    from experiments.refusals import describe

    experiment = load(configs).experiment(key)
    if variant not in experiment.variants:
        raise click.UsageError(f"VARIANT: must be one of {', '.join(experiment.variants)}, got {describe(variant)}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise click.UsageError(
            f"URL: must be an address such as https://shop.example/products/kettle, got {describe(url)}"
        )
    with _open(store_url) as store:
        signer = Signer(store.secret("signing", os.urandom(32).hex()))
    token = signer.sign_preview(key, variant, int(time.time()) + hours * 3600)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "crosslift_preview"]
    click.echo(urlunsplit(parts._replace(query=urlencode([*query, ("crosslift_preview", token)]))))


@click.group()
def quarantine() -> None:
    """List events of the shop's own that could not be read, and try them again."""


@quarantine.command("list")
@store_option
@format_option
def list_(store_url: str, format_: str) -> None:
    """List the events in quarantine, the oldest first, with the reason."""
    with existing_store(store_url) as store:
        rows = store.quarantined()
    if format_ == "json":
        click.echo(json.dumps({"quarantine": [asdict(row) for row in rows]}, indent=2))
        return
    for row in rows:
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row.received_at_ms / 1000))
        payload = f"{row.payload[:300]}{'…' if len(row.payload) > 300 else ''}"
        click.echo(f"{row.id}  {at} UTC  {row.source}\n   {row.reason}\n   {payload}")
    click.echo(f"{len(rows):,} in quarantine." + (" `crosslift quarantine replay` tries them again." if rows else ""))


@quarantine.command()
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@configs_option
@store_option
def replay(ids: tuple[int, ...], configs: str, store_url: str) -> None:
    """
    Try the events in quarantine again, or only the IDs that `crosslift quarantine list` shows.

    No event counts twice. Events that are still refused stay, with the reason; then the exit code is 1.
    """
    from server.ingest.replay import replay as replay_events

    with existing_store(store_url) as store:
        replayed = replay_events(store, configs, ids)
    for number, reason in replayed.refused.items():
        click.echo(f"{number}: {reason}", err=True)
    click.echo(f"{replayed.accepted:,} accepted, {len(replayed.refused):,} still refused.")
    if replayed.refused:
        raise click.exceptions.Exit(1)


@quarantine.command()
@click.argument("ids", nargs=-1, type=int, required=True, metavar="ID...")
@store_option
def drop(ids: tuple[int, ...], store_url: str) -> None:
    """Delete events from quarantine for good: those sent again corrected, or never to be."""
    from server.ingest.replay import check_ids

    with existing_store(store_url) as store:
        check_ids(ids, [row.id for row in store.quarantined()])
        store.release(ids)
    click.echo(f"{len(set(ids)):,} dropped.")


commands = [serve, keys, preview, quarantine, webhooks]
