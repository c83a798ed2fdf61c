"""Experiments to begin with: declarations with comments that teach, filled in for a shop."""

import json
import re
from importlib.resources import files
from pathlib import Path

from experiments.declarations.loading import Configs, load
from experiments.declarations.model import HOLDOUT
from experiments.errors import RequestError
from experiments.refusals import describe

_PLAIN = re.compile(r"[a-z][a-z0-9._-]*\Z")  # what YAML takes for text without quotes
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


def describe_templates() -> list[tuple[str, str]]:
    """Return every template's name and its question."""
    found = sorted(
        file.name
        for file in files("experiments.declarations").joinpath("template_files").iterdir()
        if file.name.endswith(".yaml")
    )
    return [
        (name.removesuffix(".yaml"), _text(name.removesuffix(".yaml")).splitlines()[1].removeprefix("# "))
        for name in found
    ]


def write_template(name: str, key: str, configs_dir: Path) -> Path:
    """
    Write a template into a folder of declarations, as a draft.

    Args:
        name: One of `describe_templates`.
        key: The new experiment's key, and its file's name.
        configs_dir: A folder whose declarations are right; products are taken from its catalogue.

    Raises:
        RequestError: No such template, a key that is none, or one that is there already; nothing is written.
        DeclarationError: The folder's declarations are wrong.
    """
    names = [one for one, _ in describe_templates()]
    if name not in names:
        raise RequestError(f"template: found {describe(name)}; wanted one of {', '.join(names)}")
    if not _KEY.match(key):
        raise RequestError(f"key: found {describe(key)}; wanted 1 to 64 of a-z 0-9 . _ -, the first a letter or digit")
    path = configs_dir / "experiments" / f"{key}.yaml"
    configs = load(configs_dir)
    if key in configs.experiments or path.exists() or key == HOLDOUT:
        raise RequestError(f"key: found {describe(key)}, which is taken already; wanted a new one")
    text = _text(name).replace(
        "{{key}}", key if _PLAIN.match(key) and key not in ("true", "false", "null") else f'"{key}"'
    )
    for placeholder, product in _products(configs).items():
        text = text.replace('"{{' + placeholder + '}}"', json.dumps(product, ensure_ascii=False))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RequestError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _text(name: str) -> str:
    return files("experiments.declarations").joinpath("template_files", f"{name}.yaml").read_text(encoding="utf-8")


def _products(configs: Configs) -> dict[str, str]:
    """Return the catalogue's dearest product, and its cheapest complement."""
    by_price = sorted(configs.products.values(), key=lambda product: product.price)
    complements = {other for product in by_price for other in product.complements}
    cheap = next((product.id for product in by_price if product.id in complements), "YOUR-PRODUCT")
    return {"dearest": by_price[-1].id if by_price else "YOUR-PRODUCT", "complement": cheap}
