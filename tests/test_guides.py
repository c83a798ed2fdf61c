"""The guides for shops do what they say: commands run, and code does its part as far as it can without the platform."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import crosslift
from events import open_store
from experiments import load
from tests.conftest import ROOT, Server, WriteConfigs

GUIDES = ("shopify", "woocommerce")

WORDPRESS = """<?php
$hooks = [];
function add_action( $hook, $call ) { global $hooks; $hooks[ $hook ] = $call; }
function add_filter( $hook, $call ) { add_action( $hook, $call ); }
class Thing { public $meta = []; function update_meta_data( $key, $value ) { $this->meta[ $key ] = $value; } }
$_COOKIE = json_decode( $argv[1], true );
$_REQUEST = json_decode( $argv[2], true );
require $argv[3];
$values = $hooks['woocommerce_add_cart_item_data']( [] );
$told = [];
foreach ( [ 'woocommerce_checkout_create_order', 'woocommerce_store_api_checkout_update_order_meta' ] as $hook ) {
    $order = new Thing();
    $hooks[ $hook ]( $order );
    $told[] = $order->meta;
}
$item = new Thing();
$hooks['woocommerce_checkout_create_order_line_item']( $item, 'key', $values );
$told[] = $item->meta;
echo json_encode( $told );
"""

BROWSER = """
const told = [], kept = {};
globalThis.sessionStorage = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = value; } };
globalThis.fetch = async (path, options) => { told.push([path, JSON.parse(options.body)]); return { ok: true }; };
"""


def blocks(guide: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{guide}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES)
def test_a_webhook_can_be_tried_without_the_shop(
    guide: str, serve: Callable[..., Server], write_configs: WriteConfigs, store_url: str
) -> None:
    """The secret is added, and curl signs a body as the guide shows; sent again it is a duplicate."""
    server = serve(write_configs())
    arguments = ["webhooks", "add", guide, "demo", "--store", store_url]
    assert CliRunner().invoke(crosslift.cli, arguments, input="hush").exit_code == 0
    (command,) = [block for block in blocks(guide, "sh") if "openssl" in block]
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    for counted in ((1, 0), (0, 1)):
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ | {"SECRET": "hush"}
        )
        told = json.loads(done.stdout)
        assert (told["accepted"], told["duplicates"], told["rejected"]) == (*counted, [])
    store = open_store(store_url)
    with store.snapshot() as fetch:
        assert list(fetch("SELECT gross_minor, units, excluded FROM orders")) in (
            [(3980, 2, "test")],
            [(1990, 2, None)],
        )
    store.close()


@pytest.mark.parametrize("guide", GUIDES)
def test_the_declarations_are_right(guide: str, write_configs: WriteConfigs) -> None:
    """As `crosslift check` reads them."""
    (text,) = blocks(guide, "yaml")
    assert load(write_configs(files={"shop.yaml": text})).shop.platform == guide


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_exist(guide: str) -> None:
    """Under the names and with the options that the guide gives."""
    for command in re.findall(r"^(crosslift .*)$", "\n".join(blocks(guide, "sh")), re.MULTILINE):
        found: click.Command = crosslift.cli
        for word in command.split()[1:]:
            if isinstance(found, click.Group):
                found = found.commands[word]
            elif word.startswith("--"):
                assert word in {option for one in found.params for option in one.opts}, command


@pytest.mark.skipif(not shutil.which("php"), reason="php is not installed, which runs the guide's functions")
@pytest.mark.parametrize(
    ("cookie", "request_", "told"),
    [
        (
            {"crosslift_visitor": "anna"},
            {"crosslift_offer": "ab:After add"},
            [{"_crosslift_visitor": "anna"}, {"_crosslift_visitor": "anna"}, {"_crosslift_offer": "ab:After add"}],
        ),
        ({}, {}, [[], [], []]),
        ({"crosslift_visitor": "a b\n"}, {"crosslift_offer": "<script>"}, [[], [], []]),
        ({"crosslift_visitor": ["anna"]}, {"crosslift_offer": ["a:b"]}, [[], [], []]),
        ({"crosslift_visitor": "anna\n"}, {"crosslift_offer": "a:b\n"}, [[], [], []]),
    ],
)
def test_the_php_marks_orders_of_both_checkouts(
    cookie: dict[str, object], request_: dict[str, object], told: list[object], tmp_path: Path
) -> None:
    """With the few functions of WordPress that it calls; what is no id of ours marks nothing."""
    (code,) = blocks("woocommerce", "php")
    (tmp_path / "functions.php").write_text(code)
    (tmp_path / "shop.php").write_text(WORDPRESS)
    arguments = [json.dumps(cookie), json.dumps(request_), str(tmp_path / "functions.php")]
    done = subprocess.run(["php", tmp_path / "shop.php", *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == told


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed, which runs the guide's functions")
def test_the_theme_snippet_marks_carts_and_lines() -> None:
    """Once a session; the line carries the offer under its hidden name."""
    calls = 'await crossliftRemember("anna"); await crossliftRemember("anna"); await crossliftAdd(7, "ab", "offer");'
    script = (
        BROWSER
        + "\n".join(blocks("shopify", "js"))
        + f"(async () => {{ {calls} console.log(JSON.stringify(told)) }})()"
    )
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        ["/cart/update.js", {"attributes": {"__crosslift_visitor": "anna"}}],
        ["/cart/add.js", {"items": [{"id": 7, "quantity": 1, "properties": {"_crosslift_offer": "ab:offer"}}]}],
    ]
