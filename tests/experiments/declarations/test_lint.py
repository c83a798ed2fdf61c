"""Each warning fires on a declaration that has the fault, and not on one that has not."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from experiments import load
from experiments.declarations.lint import lint
from tests.conftest import ROOT, WriteConfigs

Run = Callable[..., Result]

CATALOG = """\
products:
  - {id: main, title: Main, price: 100, tags: [mains], complements: [cheap]}
  - {id: cheap, title: Cheap, price: 20}
  - {id: dear, title: Dear, price: 90, tags: [dears]}
  - {id: paired, title: Paired, price: 100, tags: [pairs], complements: [dear, gone]}
  - {id: top, title: Top, price: 500}
"""


def experiment(
    offer: str = "{kind: cross_sell, products: complements}", key: str = "ab", head: str = "", **change: str
) -> str:
    """Declare two arms without a fault, but for what is changed."""
    text = f"key: {key}\ntitle: T\nstatus: {change.get('status', 'running')}\ntrigger: {change.get('trigger', 'product_page')}\n{head}"
    audience = "" if "audience" in head else "audience: {category: mains}\n"
    second = f"  offer: {{weight: {change.get('weight', '1')}, placement: {change.get('placement', 'below_product')}, offer: {offer}}}\n"
    return text + audience + "variants:\n  control: {weight: 1, placement: none}\n" + second


LAYER = "layer: {{name: {0}, from: {1}, to: {2}}}\n"

CASES: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("small-arm", {"ab": experiment(weight="0.04")}, {"ab": experiment(weight="0.06")}),
    ("before-trigger", {"ab": experiment(trigger="cart")}, {"ab": experiment(trigger="cart", placement="cart")}),
    ("before-trigger", {"ab": experiment(trigger="checkout", placement="announcement_bar")}, {"ab": experiment(trigger="own", placement="popup")}),
    ("no-decline", {"ab": experiment("{kind: bundle, products: complements}")}, {"ab": experiment("{kind: bundle, products: complements, decline: true}")}),
    ("unknown-product", {"ab": experiment("{kind: cross_sell, products: [nothing]}")}, {"ab": experiment("{kind: cross_sell, products: [cheap]}")}),
    ("unknown-product", {"ab": experiment(head="audience: {category: pairs}\n")}, {"ab": experiment()}),
    ("not-complementary", {"ab": experiment("{kind: cross_sell, products: [top]}")}, {"ab": experiment("{kind: gift, products: [top]}")}),
    ("no-complements", {"ab": experiment(head="audience: {category: dears}\n")}, {"ab": experiment()}),
    ("dear-complement", {"ab": experiment(head="audience: {product_id: paired}\n")}, {"ab": experiment(head="audience: {product_id: main}\n")}),
    ("cheaper-upsell", {"ab": experiment("{kind: upsell, products: [cheap]}")}, {"ab": experiment("{kind: upsell, products: [top]}")}),
    ("cheaper-upsell", {"ab": experiment("{kind: upsell, products: complements}")}, {"ab": experiment()}),
    (
        "guardrail-is-primary",
        {"ab": experiment(head="metrics: {primary: conversion, guardrails: {conversion: -1%}}\n")},
        {"ab": experiment(head="metrics: {primary: revenue_per_visitor, guardrails: {conversion: -1%}}\n")},
    ),
    (
        "layer-overlap",
        {"ab": experiment(head=LAYER.format("l", "0%", "51%")), "two": experiment(key="two", head=LAYER.format("l", "50%", "100%"))},
        {"ab": experiment(head=LAYER.format("l", "0%", "50%")), "two": experiment(key="two", head=LAYER.format("l", "50%", "100%"))},
    ),
    (
        "mixed-layer",
        {"ab": experiment(head=LAYER.format("l", "0%", "50%")), "two": experiment(key="two", head="unit: customer_id\n" + LAYER.format("l", "50%", "100%"))},
        {"ab": experiment(head=LAYER.format("l", "0%", "50%")), "two": experiment(key="two", head=LAYER.format("l", "50%", "100%"))},
    ),
    (
        "dear-complement",
        {"ab": experiment("{kind: cross_sell, products: [dear]}", head="audience: {category: pairs}\n")},
        {"ab": experiment("{kind: cross_sell, products: [cheap]}")},
    ),
    (
        "same-place",
        {"ab": experiment(), "two": experiment(key="two", head=LAYER.format("l", "0%", "50%"))},
        {"ab": experiment(), "two": experiment(key="two", placement="sidebar"), "three": experiment(key="three", status="draft")},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "bad", "good"), CASES, ids=[f"{case[0]}-{index}" for index, case in enumerate(CASES)])
def test_a_rule_fires_where_it_should_and_nowhere_else(
    write_configs: WriteConfigs, rule: str, bad: dict[str, str], good: dict[str, str]
) -> None:
    """With file, line, path, why it matters and what to write instead."""
    found = [one for one in lint(load(write_configs("bad", {"catalog.yaml": CATALOG}, **bad))) if one.rule == rule]
    assert len(found) == 1
    assert found[0].line > 1
    assert all((found[0].path, found[0].found, found[0].why, found[0].instead))
    assert found[0].file.endswith(".yaml")
    assert [
        one for one in lint(load(write_configs("good", {"catalog.yaml": CATALOG}, **good))) if one.rule == rule
    ] == []


def test_the_examples_have_no_warnings(run: Run, tmp_path: Path) -> None:
    """Also strictly."""
    result = run("check", ROOT / "configs", "--strict")
    assert (result.exit_code, result.output) == (
        0,
        f"{ROOT / 'configs'}: 2 experiments, 10 products, no faults, no warnings.\n",
    )


def test_strict_makes_warnings_fail(run: Run, write_configs: WriteConfigs, tmp_path: Path) -> None:
    """Otherwise they are said, and the answer is yes."""
    root = write_configs(files={"catalog.yaml": CATALOG}, ab=experiment("{kind: bundle, products: complements}"))
    result = run("check", root)
    assert (result.exit_code, "[no-decline]" in result.output, "1 warning." in result.output) == (0, True, True)
    assert run("check", root, "--strict").exit_code == 1


def test_many_declarations_are_checked_in_seconds(write_configs: WriteConfigs) -> None:
    """500 experiments over a catalogue of 10,000 products, in bounded memory."""
    products = "".join(
        f"  - {{id: p{n}, title: P{n}, price: {10 + n % 90}, tags: [t{n % 7}], complements: [p{(n + 1) % 10000}]}}\n"
        for n in range(10_000)
    )
    declared = {
        f"e{n}": experiment(
            key=f"e{n}",
            head=f"audience: {{category: t{n % 7}}}\nlayer: {{name: l, from: {n / 5}%, to: {(n + 1) / 5}%}}\n",
        )
        for n in range(500)
    }
    root = write_configs(files={"catalog.yaml": "products:\n" + products}, **declared)
    tracemalloc.start()
    started = time.monotonic()
    found = lint(load(root))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {one.rule for one in found} == {"dear-complement"}
    assert time.monotonic() - started < 60  # some 5 s without the memory trace
    assert peak < 200_000_000
