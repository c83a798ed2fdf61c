"""The catalogue from a CSV export of products, for shops that have one already."""

import csv
import io
from pathlib import Path

from experiments.declarations.yaml_source import KeyPath, Source, Value, read_text
from experiments.errors import DeclarationError, Fault

COLUMNS = ("id", "title", "price", "cost", "url", "image", "tags", "complements")
_LISTS = ("tags", "complements")


def read_catalog_csv(path: Path) -> Source:
    """
    Read `catalog.csv` into the values that `catalog.yaml` would hold.

    The header names the columns of COLUMNS in any order; `id`, `title` and `price` are needed, others are passed over. `tags` and
    `complements` hold several values, separated by `;` or `|`.

    Raises:
        DeclarationError: The file cannot be read, lacks a column, or a row has too few or too many cells.
    """
    text = read_text(path)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        twice = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
        if twice:
            raise _fault(path, 1, f"the columns {', '.join(twice)} twice", "each once")
        if len(header) == 1 and ";" in header[0]:
            raise _fault(path, 1, "columns parted by semicolons", "commas")
        missing = [name for name in ("id", "title", "price") if name not in header]
        if missing:
            raise _fault(path, 1, f"the columns {', '.join(header) or 'none'}", f"{', '.join(missing)} too")
        products: list[Value] = []
        lines: dict[KeyPath, int] = {}
        for cells in rows:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise _fault(path, rows.line_num, f"{len(cells)} cells", f"{len(header)}, as many as the header has")
            lines["products", len(products)] = rows.line_num
            products.append(_product(dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise _fault(path, rows.line_num, f"a row that is no CSV ({error})", "its quotes mended") from None
    return Source(str(path), {"products": products}, lines)


def _product(row: dict[str, str]) -> dict[str, Value]:
    product: dict[str, Value] = {}
    for name in COLUMNS:
        cell = row.get(name, "").strip()
        if cell and name in _LISTS:
            product[name] = [one.strip() for one in cell.replace("|", ";").split(";") if one.strip()]
        elif cell:
            product[name] = cell
    return product


def _fault(path: Path, line: int, found: str, wanted: str) -> DeclarationError:
    return DeclarationError([Fault(str(path), line, "", found, wanted)])
