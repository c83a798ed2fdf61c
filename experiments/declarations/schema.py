"""JSON Schema of the declarations, from the classes that validate them, for editors to complete and underline."""

import json
import sys
from pathlib import Path

from experiments.declarations.model import Catalog, Declared, Experiment, Shop

MODELS: dict[str, type[Declared]] = {
    "experiment.schema.json": Experiment,
    "shop.schema.json": Shop,
    "catalog.schema.json": Catalog,
}


def schema_text(model: type[Declared]) -> str:
    """Return a model's schema as the text of its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema into a folder of declarations."""
    for name, model in MODELS.items():
        (folder / name).write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
