"""CSV files as rows: UTF-8, commas, a header; what is no CSV is refused with its line."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from experiments.errors import RequestError

Row = dict[str, str]


def refuse_unreadable(path: Path) -> None:
    """
    Refuse what cannot be imported whatever it holds.

    Raises:
        RequestError: No file, an empty one, or one that cannot be read twice.
    """
    if not path.exists():
        raise RequestError(f"{path}: found no such file; wanted a CSV file")
    if not path.is_file():
        raise RequestError(f"{path}: found no file that can be read twice; wanted a CSV file")
    if not path.stat().st_size:
        raise RequestError(f"{path}: found an empty file; wanted a header and rows")


def read_header(path: Path) -> list[str]:
    """
    Give the names of the columns.

    Raises:
        RequestError: They cannot be read, or one stands twice.
    """
    with _opened(path) as file:
        try:
            header = [name.strip() for name in next(csv.reader(file, strict=True), [])]
        except UnicodeDecodeError:
            raise _not_utf8(path) from None
        except csv.Error as error:
            raise RequestError(f"{path}:1: found no readable header ({error}); wanted column names") from None
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise RequestError(f"{path}:1: found the columns {', '.join(map(repr, twice))} twice; wanted each once")
    if len(header) == 1 and ";" in header[0]:
        raise RequestError(f"{path}:1: found columns parted by semicolons; wanted commas")
    return header


def read_rows(path: Path) -> Iterator[tuple[int, Row | RequestError]]:
    """
    Give every row with its line, without its empty cells; or why it is none.

    Raises:
        RequestError: From some line on the file is no CSV in UTF-8.
    """
    with _opened(path) as file:
        rows = csv.reader(file, strict=True)
        header = [name.strip() for name in next(rows)]
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                raise RequestError(
                    f"{path}:{line}: found a row that is no CSV ({error}); wanted its quotes mended"
                ) from None
            except UnicodeDecodeError:
                raise _not_utf8(path) from None
            if cells is None:
                return
            if cells:
                yield line, _named(header, cells)


def count_lines(path: Path) -> int:
    """Give the number of lines, quickly; a row with line breaks in it counts for several."""
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _opened(path: Path) -> TextIO:
    try:
        return path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None


def _not_utf8(path: Path) -> RequestError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return RequestError(f"{path}:{number}: found the byte {line[error.start]:#04x}; wanted UTF-8 text")
    return RequestError(f"{path}: found bytes that are not UTF-8; wanted UTF-8 text")


def _named(header: list[str], cells: list[str]) -> Row | RequestError:
    if len(cells) != len(header):
        return RequestError(f"found {len(cells)} cells; wanted {len(header)}, as many as the header has")
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell and not cell.isspace()}
