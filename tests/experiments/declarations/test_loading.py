"""From files to declarations, or to every fault with its place."""

from pathlib import Path

import pytest

from experiments import DeclarationError, RequestError, load
from experiments.declarations.model import declared_dict, material
from tests.conftest import AB, ROOT, WriteConfigs


def faults(configs: Path) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        load(configs)
    root = str(configs) + "/"
    return [str(fault).replace(root, "") for fault in caught.value.faults]


def test_the_examples_load() -> None:
    """What a newcomer copies is right: six placements, and bundle against separate."""
    configs = load(ROOT / "configs")
    placements = configs.experiment("product-page-placement")
    assert placements.control == "none"
    assert [variant.placement for variant in placements.variants.values()] == [
        "none", "below_product", "sidebar", "after_add_to_cart", "popup", "cart",
    ]  # fmt: skip
    kinds = {one.offer.kind for one in configs.experiment("bundle-vs-separate").variants.values() if one.offer}
    assert kinds == {"cross_sell", "bundle"}
    assert configs.shop.holdout == 0.05


def test_the_declaration_of_the_design_loads(write_configs: WriteConfigs) -> None:
    """The example of the design document, word for word but for its ellipses, is a valid declaration."""
    text = """\
key: product-page-placement
title: Where should complements sit on the product page?
hypothesis: Complements below the product raise revenue per visitor and cost no conversion.
status: running
unit: visitor_id
trigger: product_page
traffic: 100%
layer: {name: product-page, from: 0%, to: 50%}
audience: {customer_type: b2c, category: {in: [laptops, cameras]}, cart_total: {at_least: 20}}
variants:
  none:      {weight: 1, placement: none}
  below:     {weight: 1, placement: below_product, offer: {kind: cross_sell, products: complements, limit: 3, headline: Goes well with it}}
  sidebar:   {weight: 1, placement: sidebar,       offer: {kind: cross_sell, products: complements}}
  bundle:    {weight: 1, placement: below_product, offer: {kind: bundle, products: complements, discount: 10%, decline: true}}
metrics: {primary: revenue_per_visitor, secondary: [conversion, average_order_value, margin_per_visitor], guardrails: {conversion: -2%}}
plan: {minimum_effect: 5%, power: 80%, confidence: 95%, window: 7d}
"""
    experiment = load(write_configs(**{"product-page-placement": text})).experiment("product-page-placement")
    assert experiment.layer is not None
    assert (experiment.layer.start, experiment.layer.end) == (0, 0.5)
    assert experiment.metrics.guardrails == {"conversion": -0.02}
    assert (experiment.plan.minimum_effect, experiment.plan.window) == (0.05, 7)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("status: running", "statuss: running", "3: statuss: found the unknown key `statuss`; wanted `status`"),
        ("weight: 1, placement: none", "weight: -1, placement: none", "5: variants.control.weight: found `-1`; wanted a number of at least 0"),
        ("weight: 1, placement: none", "weight: .nan, placement: none", "5: variants.control.weight: found `nan`; wanted a finite number"),
        ("weight: 1, placement: none", "weight: true, placement: none", "5: variants.control.weight: found `true`; wanted a number"),
        ("weight: 1, placement: none", "wieght: 1, placement: none", "5: variants.control.wieght: found the unknown key `wieght`; wanted `weight`"),
        ("  offer: {weight", "  control: {weight", "6: variants.control: found the key `control` a second time; wanted each key once; it stands in line 5"),
        ("status: running", "status: running\ntraffic: 150%", "4: traffic: found `150%`; wanted a percentage from 0% to 100%"),
        ("status: running", "status: running\ntraffic: 0.5", "4: traffic: found `0.5`; wanted a percentage from 0% to 100%, written with its sign, such as 50%"),
        ("status: running", "status: running\ntraffic: lots%", "4: traffic: found `lots%`; wanted a percentage"),
        ("status: running", "status: live", "3: status: found `live`; wanted one of 'draft', 'running', 'paused' or 'ended'"),
        ("title: Two arms\n", "", "1: title: found nothing; wanted a value here"),
        ("placement: none", "placement: footer", "5: variants.control.placement: found `footer`; wanted one of none, below_product"),
        ("placement: none", "placement: popup", "5: variants.control: found `placement: popup` with nothing to show there; wanted an offer"),
        ("placement: below_product", "placement: none", "6: variants.offer.offer: found an offer with `placement: none`"),
        ("products: [p1]", "products: []", "6: variants.offer.offer.products: found a list of 0; wanted `complements`, or a list of product ids"),
        ("kind: cross_sell", "kind: crossell", "6: variants.offer.offer.kind: found `crossell`; wanted one of 'cross_sell'"),
        ("status: running", "status: ended\nwinner: nobody", "4: winner: found `nobody`; wanted one of the variants: control, offer"),
        ("status: running", "status: running\nwinner: offer", "4: winner: found a winner while the status is running"),
        ("status: running", "status: running\nlayer: {name: l, from: 50%, to: 50%}", "4: layer: found a range that holds nobody"),
        ("status: running", "status: running\nmetrics: {primary: profit}", "4: metrics.primary: found the unknown metric `profit`"),
        ("status: running", "status: running\nmetrics: {guardrails: {conversion: 2%}}", "4: metrics.guardrails.conversion: found `2%`; wanted the loss"),
        ("status: running", "status: running\nplan: {window: a week}", "4: plan.window: found `a week`; wanted a number of days"),
        ("status: running", "status: running\naudience: {age: {atleast: 3}}", "4: audience.age.atleast: found the unknown key `atleast`; wanted `at_least`"),
        ("key: ab", "key: 7", "1: key: found `7`; wanted text (in quotes)"),
        ("status: running", "status: running\naudience: {category: }", "4: audience.category: found nothing; wanted a value, or conditions"),
        ("status: running", "status: running\naudience: {age: {at_least: 9, at_most: 1}}", "4: audience.age: found conditions that nobody can meet"),
        ("products: [p1]", "products: ['', 7]", "6: variants.offer.offer.products: found a list of 2; wanted `complements`, or a list of product ids"),
        ("products: [p1]", "products: [true]", "6: variants.offer.offer.products: found a list of 1; wanted `complements`"),
        ("key: ab", "key: AB", "1: key: found `AB`; wanted 1 to 64 of a-z 0-9"),
        ("key: ab", "# a comment\nkey: other", "2: key: found `other`; wanted `ab`, the file's own name"),
    ],
)  # fmt: skip
def test_a_fault_says_file_line_path_found_and_wanted(
    write_configs: WriteConfigs, before: str, after: str, expected: str
) -> None:
    """Each way to be wrong is said where it stands."""
    assert before in AB
    found = faults(write_configs(ab=AB.replace(before, after, 1)))
    assert any(one.startswith("experiments/ab.yaml:" + expected) for one in found), found


def test_all_faults_of_all_files_are_reported_at_once(write_configs: WriteConfigs) -> None:
    """Nobody mends one fault to be told of the next."""
    two = AB.replace("key: ab", "key: two").replace("weight: 1", "weight: -1")
    root = write_configs(ab=AB.replace("status", "state"), two=two, files={"shop.yaml": "currency: euro\nholdout: 5\n"})
    places = [one.split(": ")[0] for one in faults(root)]
    assert places == [
        "shop.yaml:1",
        "shop.yaml:2",
        "experiments/ab.yaml:3",
        "experiments/two.yaml:5",
        "experiments/two.yaml:6",
    ]


def test_a_repeated_key_hides_no_other_fault(write_configs: WriteConfigs) -> None:
    """Both are said."""
    found = faults(write_configs(ab=AB.replace("status: running", "title: Again\nstatus: live")))
    assert [one.split(": ")[1] for one in found] == ["title", "status"]


def test_files_of_editors_are_passed_over(write_configs: WriteConfigs) -> None:
    """A lock or swap file beside a declaration does not take the shop down."""
    root = write_configs()
    (root / "experiments" / ".#ab.yaml").symlink_to("nobody@nowhere")
    (root / "experiments" / ".ab.yaml.swp").write_bytes(b"\x00")
    assert list(load(root).experiments) == ["ab"]


def test_the_shop_plans_for_experiments_that_do_not(write_configs: WriteConfigs) -> None:
    """What an experiment says itself stands."""
    shop = "plan: {confidence: 90%, window: 14d}\n"
    root = write_configs(
        files={"shop.yaml": shop}, ab=AB + "plan: {window: 3d}\n", two=AB.replace("key: ab", "key: two")
    )
    plans = {key: (one.plan.confidence, one.plan.window) for key, one in load(root).experiments.items()}
    assert plans == {"ab": (0.9, 3), "two": (0.9, 14)}


def test_a_preset_stands_alone(write_configs: WriteConfigs) -> None:
    """Beside rules of its own it would be none."""
    found = faults(write_configs(files={"shop.yaml": "orders: {preset: shopify, tax: true}\n"}))
    assert found == [
        "shop.yaml:1: orders: found a preset beside rules of its own; wanted the preset, or tax, shipping and refunds"
    ]


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ("{USD: 1}", "orders.rates: found a rate of USD, the shop's own currency; wanted rates of others"),
        (
            "{EUR: 0}",
            "orders.rates.EUR: found `0`; wanted what 1 of the currency is worth in the shop's, such as 1.0845",
        ),
        ("{EUR: -1}", "orders.rates.EUR: found `-1`; wanted what 1 of the currency"),
        ("{EUR: .inf}", "orders.rates.EUR: found `inf`; wanted what 1 of the currency"),
        ("{euro: 1}", "euro"),
    ],
)
def test_a_rate_is_what_one_of_another_currency_is_worth(write_configs: WriteConfigs, rates: str, told: str) -> None:
    """Above nothing, and never of the shop's own."""
    (found,) = faults(write_configs(files={"shop.yaml": f"orders: {{rates: {rates}}}\n"}))
    assert told in found


def test_all_weights_zero_is_refused(write_configs: WriteConfigs) -> None:
    """One arm may rest at weight 0, not all of them."""
    assert load(write_configs(ab=AB.replace("weight: 1", "weight: 0", 1))).experiments["ab"].weights["control"] == 0
    assert "no weight above 0" in faults(write_configs(ab=AB.replace("weight: 1", "weight: 0")))[0]


def test_a_key_is_declared_once(write_configs: WriteConfigs) -> None:
    """Two files cannot declare one experiment."""
    root = write_configs(ab=AB)
    (root / "experiments" / "ab.yml").write_text(AB)
    assert "declared by another file too" in faults(root)[0]


def test_catalogue_ids_stand_once(write_configs: WriteConfigs) -> None:
    """Numeric ids are taken for text, and no id stands twice."""
    catalog = "products:\n  - {id: 7, title: A, price: 1.50}\n  - {id: '7', title: B, price: 2}\n"
    assert (
        "catalog.yaml:3: products.1.id: found the id `7` a second time"
        in faults(write_configs(files={"catalog.yaml": catalog}))[0]
    )


def test_prices_are_exact(write_configs: WriteConfigs) -> None:
    """A price is the decimal that was written."""
    catalog = "products: [{id: 7, title: A, price: 19.99, cost: 8}]\n"
    product = load(write_configs(files={"catalog.yaml": catalog})).products["7"]
    assert (str(product.price), str(product.cost)) == ("19.99", "8.00")


def test_a_folder_without_experiments_says_so(tmp_path: Path) -> None:
    """A wrong --configs is no empty shop."""
    assert "no folder that can be read" in faults(tmp_path / "nowhere")[0]
    assert "no folder that can be read" in faults(tmp_path / ("x" * 5000))[0]


def test_an_unknown_experiment_names_the_nearest(write_configs: WriteConfigs) -> None:
    """A typing slip is met with what was probably meant."""
    with pytest.raises(RequestError, match="wanted ab, if that is what was meant"):
        load(write_configs()).experiment("abc")


def test_declarations_survive_a_round_trip_through_json(write_configs: WriteConfigs) -> None:
    """What is stored as an epoch loads again as the same declaration."""
    for experiment in load(ROOT / "configs").experiments.values():
        assert type(experiment).model_validate(declared_dict(experiment)) == experiment


def test_only_texts_and_status_are_immaterial(write_configs: WriteConfigs) -> None:
    """A new headline opens no epoch, a new weight does."""

    def of(text: str) -> object:
        return material(declared_dict(load(write_configs(ab=text)).experiments["ab"]))

    base = of(AB)
    assert of(AB.replace("Two arms", "Zwei Arme").replace("[p1]", "[p1], headline: Hello")) == base
    assert of(AB.replace("status: running", "status: paused")) == base
    assert of(AB.replace("weight: 1", "weight: 2", 1)) != base
    assert of(AB.replace("[p1]", "[p2]")) != base


@pytest.mark.parametrize("name", ["orders", "net", "variant", "day", "epoch", "unit_id", "n", "s0"])
def test_a_segment_may_have_any_name_and_opens_no_epoch(write_configs: WriteConfigs, name: str) -> None:
    """Segments are options of reading: adding one changes nothing that visitors get."""
    before = declared_dict(load(write_configs()).experiments["ab"])
    after = declared_dict(load(write_configs(ab=AB + f"metrics: {{segments: [{name}]}}\n")).experiments["ab"])
    assert after["metrics"]["segments"] == [name]
    assert material(after) == material(before)
