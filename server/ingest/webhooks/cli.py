"""`crosslift webhooks`: the secrets whose signatures are accepted."""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from events.cli import existing_store, store_option
from experiments.cli import format_option

if TYPE_CHECKING:
    from server.ingest.webhooks.platform import Platform


class PlatformName(click.ParamType["Platform"]):
    """The name of a platform; the registry is loaded only when a name is converted, so that `--help` stays fast."""

    name = "platform"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Platform":
        """Return the platform of a name."""
        from server.ingest.webhooks.registry import PLATFORMS

        if value not in PLATFORMS:
            self.fail(f"must be one of {', '.join(PLATFORMS)}, got {value}", param, ctx)
        return PLATFORMS[value]


@click.group()
def webhooks() -> None:
    """Manage the secrets that shops sign their webhooks with."""


_platform = click.argument("platform", type=PlatformName())


@webhooks.command()
@_platform
@click.argument("shop")
@store_option
def add(platform: "Platform", shop: str, store_url: str) -> None:
    """
    Accept webhooks of SHOP that are signed with a secret, which is asked for or read from standard input.

    PLATFORM is a name as in the webhook's address, such as shopify or woocommerce; SHOP is the name that follows it there. A
    shop may have several secrets, so that a new one works before the old one is removed.
    """
    from events.stores.open_store import open_store
    from server.ingest.webhooks.signing import add_secret

    is_piped = not sys.stdin.isatty()
    secret = sys.stdin.readline() if is_piped else click.prompt("Secret", hide_input=True)
    with closing(open_store(store_url)) as store:
        hint = add_secret(store, platform, shop, secret.strip())
    address = f"/v1/webhooks/{platform.name}/{shop}"
    click.echo(f"Webhooks to {address} are accepted with secret {hint}, within two seconds.")


@webhooks.command("list")
@store_option
@format_option
def list_(store_url: str, format_: str) -> None:
    """List shops and their secrets, each by six digits of its hash; no secret is shown."""
    from server.ingest.webhooks.signing import list_secrets

    with existing_store(store_url) as store:
        names = list_secrets(store)
    if format_ == "json":
        click.echo(json.dumps({"webhooks": [asdict(name) for name in names]}, indent=2))
        return
    for name in names:
        click.echo(f"{name.platform:<11}  {name.shop}  {name.hint}")
    click.echo(f"{len(names)} secret{'' if len(names) == 1 else 's'}.")


@webhooks.command()
@_platform
@click.argument("shop")
@click.argument("hint")
@store_option
def remove(platform: "Platform", shop: str, hint: str, store_url: str) -> None:
    """Stop accepting webhooks of SHOP that are signed with the secret that is listed as HINT."""
    from server.ingest.webhooks.signing import SecretName, list_secrets

    name = SecretName(platform.name, platform.shop_name(shop), hint)
    with existing_store(store_url) as store:
        if name not in list_secrets(store):
            raise click.UsageError(
                f"HINT: must be one that `crosslift webhooks list` shows for {platform.name} {shop}, got {hint!r}"
            )
        store.remove_secret(name.to_text())
    click.echo("Removed; servers refuse it within two seconds.")
