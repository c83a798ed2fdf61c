"""From a folder of YAML files to validated declarations, or to every fault in them at once."""

import copy
import difflib
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from experiments.declarations.catalog import read_catalog_csv
from experiments.declarations.model import Catalog, Contradiction, Declared, Experiment, Product, Shop
from experiments.declarations.yaml_source import KeyPath, Source, Value, read_yaml
from experiments.errors import DeclarationError, Fault, RequestError
from experiments.money import exponent, to_minor
from experiments.refusals import describe, found, wanted

Model = TypeVar("Model", bound=Declared)
Parsed = dict[Path, tuple[tuple[int, int], Source, Declared]]  # what a file of that time and size was read as


@dataclass(frozen=True)
class Configs:
    """
    Everything that a shop declares.

    Attributes:
        shop: `shop.yaml`, or its defaults.
        products: The catalogue by product id; empty without a `catalog.yaml`.
        experiments: The declarations by key, in the order of their files.
        sources: Where each experiment was read from, by its key: file and lines, for those who find fault with it.
    """

    shop: Shop
    products: Mapping[str, Product]
    experiments: Mapping[str, Experiment]
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False)

    def costs_minor(self) -> dict[str, int]:
        """Return the cost of goods of every product that has one, in minor units."""
        known = {key: product.cost for key, product in self.products.items() if product.cost is not None}
        return {key: to_minor(cost, self.shop.currency) for key, cost in known.items()}

    def experiment(self, key: str) -> Experiment:
        """
        Give one declaration.

        Raises:
            RequestError: No such key; the nearest one is named.
        """
        if key in self.experiments:
            return self.experiments[key]
        near = difflib.get_close_matches(key, self.experiments, n=1)
        known = (
            f"{near[0]}, if that is what was meant"
            if near
            else f"one of {', '.join(self.experiments) or '(none declared)'}"
        )
        raise RequestError(f"experiment: found {describe(key)}; wanted {known}")


def load(directory: str | Path = "configs", parsed: Parsed | None = None) -> Configs:
    """
    Load `shop.yaml`, `catalog.yaml` (or `catalog.csv`) and `experiments/*.yaml` from a folder.

    Args:
        directory: The folder.
        parsed: Files that were read before and have not changed since; those that are read now are added.

    Returns:
        The declarations, validated; nothing of them when a single one is wrong.

    Raises:
        DeclarationError: Every fault of every file, each with file, line, path, what was found and what is wanted.
    """
    root = Path(directory)
    folder = root / "experiments"
    faults: list[Fault] = []
    parsed = {} if parsed is None else parsed
    try:
        files = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.name[0] != "."
        )
        shop = (
            _load_file(root / "shop.yaml", Shop, faults, parsed)[0] if os.path.lexists(root / "shop.yaml") else Shop()
        )
        catalog = _load_catalog(root, faults, parsed)
    except OSError as error:
        what = f"no folder that can be read ({error.strerror})"
        raise DeclarationError([Fault(str(folder), 0, "", what, "a folder with one YAML file an experiment")]) from None
    experiments: dict[str, Experiment] = {}
    sources: dict[str, Source] = {}
    for path in files:
        experiment, source = _load_file(path, Experiment, faults, parsed, named=True)
        if experiment is None or source is None:
            continue
        if experiment.key in experiments:
            faults.append(
                Fault(str(path), 1, "key", f"`{experiment.key}`, declared by another file too", "each key once")
            )
        experiments[experiment.key], sources[experiment.key] = experiment, source
    if faults or shop is None or catalog is None:
        raise DeclarationError(faults)
    products = {product.id: _priced(product, shop.currency) for product in catalog.products}
    experiments = {key: _planned(one, shop) for key, one in experiments.items()}
    return Configs(shop, products, experiments, sources)


def _load_catalog(root: Path, faults: list[Fault], parsed: Parsed) -> Catalog | None:
    """Load `catalog.yaml` or `catalog.csv`; an empty one without either."""
    yaml_file, csv_file = root / "catalog.yaml", root / "catalog.csv"
    if os.path.lexists(yaml_file) and os.path.lexists(csv_file):
        faults.append(Fault(str(csv_file), 0, "", "a second catalogue beside catalog.yaml", "one of them"))
    if os.path.lexists(yaml_file):
        return _load_file(yaml_file, Catalog, faults, parsed)[0]
    return (
        _load_file(csv_file, Catalog, faults, parsed, read=read_catalog_csv)[0]
        if os.path.lexists(csv_file)
        else Catalog()
    )


def _planned(experiment: Experiment, shop: Shop) -> Experiment:
    """Take from the shop's plan what the experiment's does not say."""
    own = {name: getattr(experiment.plan, name) for name in experiment.plan.model_fields_set}
    return experiment.model_copy(update={"plan": shop.plan.model_copy(update=own)})


def _priced(product: Product, currency: str) -> Product:
    """Write a product's amounts with the currency's own places: YAML makes 9.9 of 9.90."""
    amounts = {"price": product.price, "cost": product.cost}
    places = Decimal(1).scaleb(-exponent(currency))
    return product.model_copy(update={name: amount and amount.quantize(places) for name, amount in amounts.items()})


def _load_file(
    path: Path,
    model: type[Model],
    faults: list[Fault],
    parsed: Parsed,
    *,
    named: bool = False,
    read: Callable[[Path], Source] = read_yaml,
) -> tuple[Model | None, Source | None]:
    """Load a file, or note its faults; with `named`, its key must be its name."""
    try:
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        known = parsed.get(path)
        if known is not None and known[0] == stamp:
            source, declared = known[1], cast("Model", known[2])
        else:
            source = read(path)
            declared = validate(source, model)
            parsed[path] = stamp, source, declared
    except OSError as error:
        faults.append(Fault(str(path), 0, "", f"no readable file ({error.strerror})", "a file of declarations"))
        return None, None
    except DeclarationError as error:
        faults.extend(error.faults)
        return None, None
    key = getattr(declared, "key", path.stem)
    if named and key != path.stem:
        faults.append(
            Fault(source.file, source.line(("key",)), "key", f"`{key}`", f"`{path.stem}`, the file's own name")
        )
        return None, None
    return declared, source


def validate(source: Source, model: type[Model]) -> Model:
    """
    Turn the values of a YAML file into a declaration.

    Raises:
        DeclarationError: Every fault, with its line.
    """
    try:
        declared = model.model_validate(source.value)
    except ValidationError as error:
        found_there = list(_schema_faults(source, model, error))
        faults = [*source.faults, *found_there, *_faults_of_the_rest(source, model, error)]
        raise DeclarationError(sorted(faults, key=lambda fault: fault.line)) from None
    faults = [*source.faults, *_contradictions(source, declared)]
    if faults:
        raise DeclarationError(sorted(faults, key=lambda fault: fault.line))
    return declared


def _contradictions(source: Source, declared: Declared) -> Iterator[Fault]:
    told: Iterator[Contradiction] = getattr(declared, "contradictions", lambda: iter(()))()
    return (Fault(source.file, source.line(path), _dotted(path), *rest) for path, *rest in told)


def _faults_of_the_rest(source: Source, model: type[Declared], error: ValidationError) -> list[Fault]:
    """Return the contradictions of a faulty declaration, as far as they can be told without its faulty parts."""
    rest = copy.deepcopy(source.value)
    for details in error.errors(include_url=False):
        path = _path_in_file(source.value, details["loc"])
        holder: Any = rest
        for part in path[:-1]:
            holder = holder.get(part, {}) if isinstance(holder, dict) else holder[part]
        if path and isinstance(holder, dict):
            holder.pop(path[-1], None)
    try:
        return list(
            _contradictions(source, model.model_validate({"title": "", **rest} if isinstance(rest, dict) else rest))
        )
    except ValidationError:
        return []


def _schema_faults(source: Source, model: type[Model], error: ValidationError) -> Iterator[Fault]:
    seen = set()
    for details in error.errors(include_url=False):
        path = _path_in_file(source.value, details["loc"])
        if path in seen:  # a union reports one place once for each of its members
            continue
        seen.add(path)
        what = f"the unknown key `{path[-1]}`" if details["type"] == "extra_forbidden" else found(details)
        yield Fault(source.file, source.line(path), _dotted(path), what, _wanted(model, details))


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


def _wanted(model: type[BaseModel], details: ErrorDetails) -> str:
    if details["type"] != "extra_forbidden":
        return wanted(details)
    known = known_keys(model, details["loc"][:-1])
    near = difflib.get_close_matches(str(details["loc"][-1]), known, n=1, cutoff=0.7)
    return f"`{near[0]}`, if that is what was meant" if near else f"one of {', '.join(known)}"


def known_keys(annotation: Any, loc: KeyPath) -> list[str]:
    """Return the keys that a model knows at a location inside it; none where any key may stand."""
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
