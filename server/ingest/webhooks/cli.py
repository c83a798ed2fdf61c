"""The commands around webhooks: whose signatures are taken."""

import json
import sys

import click

from events.cli import existing_store, store_option
from experiments.cli import format_option


@click.group()
def webhooks() -> None:
    """Say which secrets shops sign their webhooks with."""


_platform = click.argument("platform", type=click.Choice(["shopify", "woocommerce"]))


@webhooks.command()
@_platform
@click.argument("shop")
@store_option
def add(platform: str, shop: str, store_url: str) -> None:
    """
    Take webhooks of SHOP that are signed with a secret; it is asked for, or read from standard input.

    SHOP is as in the webhook's address: of Shopify the name before .myshopify.com, of WooCommerce any name. A shop may have
    several secrets, so that a new one works before the old one goes.
    """
    from contextlib import closing

    from events.stores.open_store import open_store
    from server.ingest.webhooks.signing import add_secret

    piped = not sys.stdin.isatty()
    secret = sys.stdin.readline() if piped else click.prompt("Secret", hide_input=True)
    with closing(open_store(store_url)) as store:
        hint = add_secret(store, platform, shop, secret.strip())
    click.echo(f"Webhooks to /v1/webhooks/{platform}/{shop} are taken with secret {hint}, within two seconds.")


@webhooks.command("list")
@store_option
@format_option
def list_(store_url: str, format_: str) -> None:
    """List shops and their secrets, each by six digits of its hash; no secret is shown."""
    from server.ingest.webhooks.signing import listed

    with existing_store(store_url) as store:
        found = listed(store)
    if format_ == "json":
        names = ("platform", "shop", "hint")
        click.echo(json.dumps({"webhooks": [dict(zip(names, one, strict=True)) for one in found]}, indent=2))
        return
    for platform, shop, hint in found:
        click.echo(f"{platform:<11}  {shop}  {hint}")
    click.echo(f"{len(found)} secrets.")


@webhooks.command()
@_platform
@click.argument("shop")
@click.argument("hint")
@store_option
def remove(platform: str, shop: str, hint: str, store_url: str) -> None:
    """Take webhooks of SHOP no longer that are signed with the secret that is listed as HINT."""
    from server.ingest.webhooks.signing import PREFIX, listed

    with existing_store(store_url) as store:
        if (platform, shop, hint) not in listed(store):
            raise click.UsageError(f"found no secret of {platform} {shop} that is listed as {hint!r}")
        store.remove_secret(f"{PREFIX}{platform}:{shop}:{hint}")
    click.echo("Removed; servers refuse it within two seconds.")
