"""Reads CSV files as rows: UTF-8, commas, a header. A file that is not CSV is refused with the line."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from experiments.errors import RequestError

Row = dict[str, str]


def refuse_unreadable(path: Path) -> None:
    """
    Refuse a path that cannot be imported.

    Raises:
        RequestError: There is no such file, or it is empty, or it cannot be read twice.
    """
    if not path.exists():
        raise RequestError(f"{path}: must be a CSV file, got no such file")
    if not path.is_file():
        raise RequestError(f"{path}: must be a CSV file that can be read twice, got a folder or a pipe")
    if not path.stat().st_size:
        raise RequestError(f"{path}: must have a header and rows, got an empty file")


def read_header(path: Path) -> list[str]:
    """
    Return the names of the columns.

    Raises:
        RequestError: The header cannot be read, or a name is there twice.
    """
    with _opened(path) as file:
        try:
            header = [name.strip() for name in next(csv.reader(file, strict=True), [])]
        except UnicodeDecodeError:
            raise _not_utf8(path) from None
        except csv.Error as error:
            raise RequestError(
                f"{path}:1: the header must be column names, got text that is not CSV ({error})"
            ) from None
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise RequestError(f"{path}:1: each column must be there once, got {', '.join(map(repr, twice))} twice")
    if len(header) == 1 and ";" in header[0]:
        raise RequestError(f"{path}:1: columns must be separated by commas, got semicolons")
    return header


def read_rows(path: Path) -> Iterator[tuple[int, Row | RequestError]]:
    """
    Yield every row with its line, without its empty cells; or the error of a row of the wrong length.

    Raises:
        RequestError: The file is not CSV in UTF-8, from some line on.
    """
    with _opened(path) as file:
        rows = csv.reader(file, strict=True)
        header = [name.strip() for name in next(rows)]
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                raise RequestError(f"{path}:{line}: must be a row of CSV; check its quotes ({error})") from None
            except UnicodeDecodeError:
                raise _not_utf8(path) from None
            if cells is None:
                return
            if cells:
                yield line, _named(header, cells)


def count_lines(path: Path) -> int:
    """Return the number of lines, quickly; a row with line breaks counts as several."""
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
                return RequestError(f"{path}:{number}: must be UTF-8 text, got the byte {line[error.start]:#04x}")
    return RequestError(f"{path}: must be UTF-8 text, got other bytes")


def _named(header: list[str], cells: list[str]) -> Row | RequestError:
    if len(cells) != len(header):
        return RequestError(f"must have {len(header)} cells, as the header has, got {len(cells)}")
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell and not cell.isspace()}
