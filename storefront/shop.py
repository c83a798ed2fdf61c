"""A small demo shop on the catalogue of a folder of declarations: every page works without crosslift, and without JavaScript."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, g, redirect, render_template, request, send_from_directory, url_for
from werkzeug.wrappers import Response as AnyResponse

from experiments.declarations.loading import Configs
from experiments.declarations.model import Product
from experiments.errors import RequestError
from experiments.money import format_money, to_minor
from storefront.cart import Line, added, order_event, priced, read_items
from storefront.upstream import Upstream

POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind} 'self'" for kind in ("script-src", "style-src", "img-src", "connect-src", "form-action")),
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


MAX_SESSIONS = 10_000
PICTURES = Path(__file__).parent / "static" / "images"


@dataclass(frozen=True)
class Preview:
    """A signed link's token, and what it shows."""

    experiment: str
    variant: str
    token: str


def create_shop(
    configs: Configs,
    server: str,
    keys: Mapping[str, str],
    previews: Sequence[Preview] = (),
    attributes: Mapping[str, str] | None = None,
) -> Flask:
    """
    Build the shop.

    Args:
        configs: The declarations that the server serves; the shop takes its catalogue and bundles from there.
        server: Address of a crosslift server.
        keys: `publishable` for the pages, `secret` for the orders.
        previews: For the bar that switches variants.
        attributes: More of the script tag's, such as `data-deadline`.
    """
    app = Flask("storefront")
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    upstream = Upstream(server, keys["secret"])
    app.jinja_env.globals["money"] = lambda minor: format_money(minor, configs.shop.currency)
    app.jinja_env.globals["price"] = lambda product: format_money(
        to_minor(product.price, configs.shop.currency), configs.shop.currency
    )

    def show(template: str, page: str, context: Mapping[str, Any] | None = None, **values: Any) -> str:
        lines = priced(configs, g.session.get("cart", []))
        told = {"cart": [line.product.id for line in lines], **(context or {})}
        tag = {
            "data-key": keys["publishable"],
            "data-page": page,
            "data-context": json.dumps(told),
            **(attributes or {}),
        }
        if "crosslift_preview" in request.args:
            g.session["preview"] = request.args["crosslift_preview"][:2000]
        return render_template(
            template,
            lines=lines,
            total=_net(lines),
            tag=tag,
            previews=previews,
            shown=g.session.get("preview"),
            **values,
        )

    _add_sessions(app)
    _add_pages(app, configs, show)
    _add_cart(app, configs)
    _add_checkout(app, configs, show, upstream)

    @app.get("/crosslift.js")
    @app.post("/v1/page")
    @app.post("/v1/events")
    @app.post("/v1/identify")
    def pass_on() -> Response:
        """Pass the browser's requests on to the server, as they are."""
        body, headers = request.get_data(), dict(request.headers)
        status, answer, back = upstream.pass_on(request.method, request.full_path.rstrip("?"), body, headers)
        return Response(answer, status, back)

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    return app


def _add_sessions(app: Flask) -> None:
    """Keep carts here rather than in cookies: of two requests at once, one cookie would undo the other's."""
    sessions: dict[str, dict[str, Any]] = {}

    @app.before_request
    def find() -> None:
        g.fresh = None
        known = sessions.get(request.cookies.get("shop_session", ""))
        if known is None:
            g.fresh = secrets.token_urlsafe(16)
            known = sessions[g.fresh] = {}
            if len(sessions) > MAX_SESSIONS:
                del sessions[next(iter(sessions))]
        g.session = known

    @app.after_request
    def remember(response: Response) -> Response:
        if g.fresh is not None and (response.mimetype == "text/html" or request.path.startswith("/cart/")):
            response.set_cookie("shop_session", g.fresh, httponly=True, samesite="Lax")
        return response


def context_of(product: Product) -> dict[str, Any]:
    """Return what a product's page tells of itself; a shop knows its categories, here the first tag."""
    return {"product_id": product.id, **({"category": product.tags[0]} if product.tags else {})}


def _add_pages(app: Flask, configs: Configs, show: Any) -> None:
    """Add the pages that sell."""

    @app.get("/")
    def home() -> str:
        """Every product."""
        return str(show("home.html", "home", products=configs.products.values()))

    @app.get("/products/<product_id>")
    def product(product_id: str) -> str:
        """One product."""
        found = configs.products.get(product_id) or abort(404)
        return str(show("product.html", "product_page", context_of(found), product=found))

    @app.get("/images/<product_id>.svg")
    def image(product_id: str) -> Response:
        """Return its picture; a plain one where there is none."""
        known = product_id if (PICTURES / f"{product_id}.svg").is_file() else "other"
        return send_from_directory(PICTURES, f"{known}.svg", max_age=86_400)


def _add_cart(app: Flask, configs: Configs) -> None:
    """Add the cart's routes: forms, and what crosslift.js calls in the shape of Shopify's."""

    @app.post("/cart/add")
    def add() -> AnyResponse:
        """Take a form: id."""
        return _add_items({"items": [{"id": request.form.get("id"), "quantity": 1}]}) or redirect(url_for("cart"), 303)

    @app.post("/cart/add.js")
    def add_js() -> AnyResponse:
        """{items: [{id, quantity, properties}]} -> {count}."""
        refused = _add_items(request.get_json(silent=True))
        return refused or Response(
            json.dumps({"count": sum(line["quantity"] for line in g.session["cart"])}), mimetype="application/json"
        )

    @app.post("/cart/update.js")
    def update_js() -> Response:
        """{attributes: {__crosslift_visitor}}: which visitor the order will be of."""
        body = request.get_json(silent=True)
        attributes = body.get("attributes") if isinstance(body, dict) else None
        visitor = attributes.get("__crosslift_visitor") if isinstance(attributes, dict) else None
        if isinstance(visitor, str) and len(visitor) <= 256:
            g.session["visitor"] = visitor
        return Response("{}", mimetype="application/json")

    @app.post("/cart/remove")
    def remove() -> AnyResponse:
        """Take a form: line, counted from 0."""
        number = request.form.get("line", type=int)
        g.session["cart"] = [line for index, line in enumerate(g.session.get("cart", [])) if index != number]
        return redirect(url_for("cart"), 303)

    def _add_items(body: object) -> Response | None:
        try:
            g.session["cart"] = added(g.session.get("cart", []), read_items(configs, body))
        except RequestError as error:
            return Response(json.dumps({"description": str(error)}), 422, mimetype="application/json")
        return None


def _add_checkout(app: Flask, configs: Configs, show: Any, upstream: Upstream) -> None:
    """Add the way to the till, and what comes after it."""

    @app.get("/cart")
    def cart() -> str:
        """What is in it."""
        return str(show("cart.html", "cart"))

    @app.get("/checkout")
    def checkout() -> str | AnyResponse:
        """The form."""
        return str(show("checkout.html", "checkout")) if g.session.get("cart") else redirect(url_for("cart"))

    @app.post("/checkout")
    def order() -> AnyResponse:
        """Sell what is in the cart, and tell crosslift, with the visitor that the cart's attribute names."""
        lines = priced(configs, g.session.get("cart", []))
        if not lines:
            return redirect(url_for("cart"), 303)
        now_ms = time.time_ns() // 1_000_000
        order_id = f"D{now_ms}{secrets.token_hex(2)}"
        visitor = g.session.get("visitor") or request.cookies.get("crosslift_visitor")
        upstream.send([order_event(lines, order_id, visitor, now_ms)])
        bought = context_of(lines[0].product)
        g.session["cart"], g.session["order"] = [], {"id": order_id, "total": _net(lines), "context": bought}
        g.session.pop("visitor", None)
        return redirect(url_for("thanks"), 303)

    @app.get("/thanks")
    def thanks() -> str | AnyResponse:
        """Say that it was bought."""
        last = g.session.get("order")
        return (
            str(show("thanks.html", "order_completed", last["context"], order=last))
            if last
            else redirect(url_for("home"))
        )

    @app.route("/account", methods=["GET", "POST"])
    def account() -> str | AnyResponse:
        """Sign in by a name, which is the customer's id."""
        name = request.form.get("name", "").strip()[:100]
        if request.method == "GET" or not name:
            return str(show("account.html", "account", name=g.session.get("name")))
        g.session["name"] = name
        response = redirect(url_for("account"), 303)
        for header in upstream.identify(f"demo-{name.lower()}", request.headers.get("Cookie", "")):
            response.headers.add(*header)
        g.session.pop("visitor", None)  # the unit may be another device's from now on
        return response


def _net(lines: Sequence[Line]) -> int:
    return sum(line.gross_minor - line.discount_minor for line in lines)
