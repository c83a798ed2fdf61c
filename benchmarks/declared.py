"""A shop's declarations for benchmarks: experiments on its product pages, and any number on other pages."""

from pathlib import Path

PRODUCTS = 200
ON_PAGE = 10

_PLACED = "offer: {kind: cross_sell, products: complements, limit: 3, headline: Goes well with it}"
_LISTED = "offer: {kind: cross_sell, products: [p190, p191, p192], headline: Often bought}"

# Three arms on average; one shows complements of the page's product, one a bundle of them, others products that are listed.
_SHAPES = (
    f"""\
  none: {{weight: 1, placement: none}}
  below: {{weight: 1, placement: below_product, {_PLACED}}}
  sidebar: {{weight: 1, placement: sidebar, {_PLACED}}}
  after-add: {{weight: 1, placement: after_add_to_cart, {_PLACED}}}
  popup: {{weight: 1, placement: popup, {_PLACED}}}
  cart: {{weight: 1, placement: cart, {_PLACED}}}
""",
    f"""\
  separate: {{weight: 1, placement: below_product, {_PLACED}}}
  bundle: {{weight: 1, placement: below_product, offer: {{kind: bundle, products: complements, discount: 10%}}}}
""",
    f"""\
  none: {{weight: 2, placement: none}}
  listed: {{weight: 1, placement: sidebar, {_LISTED}}}
""",
    f"""\
  none: {{weight: 1, placement: none}}
  listed: {{weight: 1, placement: cart, {_LISTED}}}
  threshold: {{weight: 1, placement: announcement_bar, offer: {{kind: free_shipping, threshold: 60, headline: Nearly there}}}}
""",
    """\
  none: {weight: 1, placement: none}
  upsell: {weight: 1, placement: popup, offer: {kind: upsell, products: [p193], decline: true}}
  gift: {weight: 1, placement: popup, offer: {kind: gift, products: [p194, p195], threshold: 80, decline: true}}
""",
)
_AUDIENCES = (
    "{page: product}",
    "{page: product, category: {in: [c0, c1, c2, c3, c4]}}",
    "{page: product, device: {in: [mobile, desktop]}}",
    "{page: {in: [product, cart]}, cart_total: {at_least: 20}}",
    "{page: product, customer_type: b2c}",
)


def arms() -> dict[str, list[str]]:
    """Return the arms of each experiment on product pages."""
    shapes = [[line.split(":")[0].strip() for line in shape.splitlines()] for shape in _SHAPES]
    return {f"on-page-{index}": shapes[index % len(shapes)] for index in range(ON_PAGE)}


def declare(root: Path, running: int) -> Path:
    """
    Write a folder of declarations with so many running experiments, at most `ON_PAGE` of which concern product pages.

    Nobody is held out, so that everybody is hashed for every arm.
    """
    (root / "experiments").mkdir(parents=True)
    (root / "shop.yaml").write_text("currency: EUR\norigins: [https://shop.example]\n", encoding="utf-8")
    products = [
        f"  - {{id: p{number}, title: Product {number}, price: {number % 50 + 5}.90, url: /products/p{number}, "
        f"image: /images/p{number}.webp, complements: [p{(number + 1) % PRODUCTS}, p{(number + 2) % PRODUCTS}, "
        f"p{(number + 3) % PRODUCTS}, p{(number + 7) % PRODUCTS}]}}\n"
        for number in range(PRODUCTS)
    ]
    (root / "catalog.yaml").write_text("products:\n" + "".join(products), encoding="utf-8")
    for index in range(running):
        on_page = index < ON_PAGE
        key = f"on-page-{index}" if on_page else f"elsewhere-{index}"
        audience = _AUDIENCES[index % len(_AUDIENCES)] if on_page else f"{{page: landing-{index % 97}}}"
        shape = _SHAPES[index % len(_SHAPES)]
        text = f"key: {key}\ntitle: Experiment {index}\nstatus: running\naudience: {audience}\nvariants:\n{shape}"
        (root / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")
    return root
