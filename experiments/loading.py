"""From a folder of YAML files to validated declarations, or to every fault in them at once."""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from experiments.declaration import Catalog, Contradiction, Declared, Experiment, Product, Shop
from experiments.errors import DeclarationError, Fault
from experiments.money import exponent
from experiments.yaml_source import KeyPath, Source, Value, read_yaml

Model = TypeVar("Model", bound=Declared)

_WANTED = {
    "missing": "a value here",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "literal_error": "one of {expected}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}


@dataclass(frozen=True)
class Configs:
    """
    Everything that a shop declares.

    Attributes:
        shop: `shop.yaml`, or its defaults.
        products: The catalogue by product id; empty without a `catalog.yaml`.
        experiments: The declarations by key, in the order of their files.
    """

    shop: Shop
    products: Mapping[str, Product]
    experiments: Mapping[str, Experiment]

    def experiment(self, key: str) -> Experiment:
        """
        Give one declaration.

        Raises:
            DeclarationError: No such key; the nearest ones are named.
        """
        if key in self.experiments:
            return self.experiments[key]
        near = difflib.get_close_matches(key, self.experiments, n=1)
        known = f"did you mean {near[0]}?" if near else f"one of {', '.join(self.experiments) or '(none declared)'}"
        raise DeclarationError([Fault(f"experiments/{key}.yaml", 0, "", "no such experiment", known)])


def load(directory: str | Path = "configs") -> Configs:
    """
    Load `shop.yaml`, `catalog.yaml` and `experiments/*.yaml` from a folder.

    Returns:
        The declarations, validated; nothing of them when a single one is wrong.

    Raises:
        DeclarationError: Every fault of every file, each with file, line, path, what was found and what is wanted.
    """
    root = Path(directory)
    folder = root / "experiments"
    if not folder.is_dir():
        raise DeclarationError(
            [Fault(str(folder), 0, "", "no such folder", "a folder with one YAML file an experiment")]
        )
    faults: list[Fault] = []
    shop = _load_file(root / "shop.yaml", Shop, faults) if (root / "shop.yaml").exists() else Shop()
    catalog = _load_file(root / "catalog.yaml", Catalog, faults) if (root / "catalog.yaml").exists() else Catalog()
    experiments: dict[str, Experiment] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")):
        experiment = _load_file(path, Experiment, faults)
        if experiment and experiment.key in experiments:
            faults.append(
                Fault(str(path), 1, "key", f"`{experiment.key}`, declared by another file too", "each key once")
            )
        elif experiment and experiment.key != path.stem:
            faults.append(Fault(str(path), 1, "key", f"`{experiment.key}`", f"`{path.stem}`, the file's own name"))
        elif experiment:
            experiments[experiment.key] = experiment
    if faults or shop is None or catalog is None:
        raise DeclarationError(faults)
    return Configs(shop, {product.id: _priced(product, shop.currency) for product in catalog.products}, experiments)


def _priced(product: Product, currency: str) -> Product:
    """Write a product's amounts with the currency's own places: YAML makes 9.9 of 9.90."""
    amounts = {"price": product.price, "cost": product.cost}
    places = Decimal(1).scaleb(-exponent(currency))
    return product.model_copy(update={name: amount and amount.quantize(places) for name, amount in amounts.items()})


def load_experiment(path: str | Path) -> Experiment:
    """
    Load a single declaration.

    Raises:
        DeclarationError: Every fault of the file.
    """
    faults: list[Fault] = []
    experiment = _load_file(Path(path), Experiment, faults)
    if experiment is None:
        raise DeclarationError(faults)
    return experiment


def _load_file(path: Path, model: type[Model], faults: list[Fault]) -> Model | None:
    try:
        return validate(read_yaml(path), model)
    except DeclarationError as error:
        faults.extend(error.faults)
        return None


def validate(source: Source, model: type[Model]) -> Model:
    """
    Turn the values of a YAML file into a declaration.

    Raises:
        DeclarationError: Every fault, with its line.
    """
    try:
        declared = model.model_validate(source.value)
    except ValidationError as error:
        faults = sorted(_schema_faults(source, model, error), key=lambda fault: fault.line)
        raise DeclarationError(faults) from None
    contradictions: Iterator[Contradiction] = getattr(declared, "contradictions", lambda: iter(()))()
    faults = [Fault(source.file, source.line(path), _dotted(path), *rest) for path, *rest in contradictions]
    if faults:
        raise DeclarationError(faults)
    return declared


def _schema_faults(source: Source, model: type[Model], error: ValidationError) -> Iterator[Fault]:
    seen = set()
    for details in error.errors(include_url=False):
        path = _path_in_file(source.value, details["loc"])
        wanted = _wanted(model, details)
        found = f"the unknown key `{path[-1]}`" if details["type"] == "extra_forbidden" else _found(details)
        if (path, wanted) not in seen:  # a union reports one place once for each of its members
            seen.add((path, wanted))
            yield Fault(source.file, source.line(path), _dotted(path), found, wanted)


def _path_in_file(value: Value, loc: KeyPath) -> KeyPath:
    """Keep of pydantic's location what stands in the file; union members and `[key]` are its own marks."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        inside = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))
        if inside:
            value = value[part]  # type: ignore[index]
            path.append(part)
        elif part != "[key]" and position == len(loc) - 1 and isinstance(value, dict):
            path.append(part)  # the key that is missing
    return tuple(path)


def _found(details: ErrorDetails) -> str:
    if details["type"] == "missing":
        return "nothing"
    value = details["input"]
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text[:60]}{'…' if len(text) > 60 else ''}`"


def _wanted(model: type[BaseModel], details: ErrorDetails) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    if details["type"] == "wanted":
        return str(context["wanted"])
    if details["type"] == "extra_forbidden":
        known = known_keys(model, details["loc"][:-1])
        near = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
        return f"`{near[0]}`, if that is what was meant" if near else f"one of {', '.join(known)}"
    return _WANTED.get(details["type"], details["msg"].lower()).format(**context)


def known_keys(annotation: Any, loc: KeyPath) -> list[str]:
    """Give the keys that a model knows at a location inside it; none where any key may stand."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        found = (known_keys(member, loc) for member in typing.get_args(annotation) if member is not type(None))
        return next((keys for keys in found if keys), [])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        if not loc:
            return list(fields)
        return known_keys(fields[str(loc[0])].annotation, loc[1:]) if loc[0] in fields else []
    arguments = typing.get_args(annotation)
    return known_keys(arguments[-1], loc[1:]) if arguments and loc else []


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
