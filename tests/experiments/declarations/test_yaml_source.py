"""Reading YAML: lines, core schema, and files that mean harm."""

from pathlib import Path

import pytest

from experiments import DeclarationError
from experiments.declarations.yaml_source import MAX_BYTES, read_yaml


def read(tmp_path: Path, content: str | bytes) -> object:
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-2", -2), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("true", True), ("False", False),
        ("null", None), ("~", None), ("no", "no"), ("on", "on"), ("2026-01-01", "2026-01-01"), ("'1'", "1"), ('"true"', "true"),
        ("100%", "100%"), ("-2%", "-2%"), ("0x10", "0x10"), ("1_000", "1_000"), ("0123", "0123"), ("12345678901234567890", "12345678901234567890"), ("12:30", "12:30"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    """Only JSON's own words are not text; nothing of YAML 1.1 (no, on, dates, sexagesimals) is guessed."""
    found = read(tmp_path, f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_every_path_knows_its_line(tmp_path: Path) -> None:
    """Keys, list items and nested keys each have their own line; a path that is not there has its parent's."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb:\n  - x\n  - y: 2\n    z: {q: 3}\n")
    source = read_yaml(path)
    expected = {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "y"): 4, ("b", 1, "z", "q"): 5}
    assert {found: source.line(found) for found in expected} == expected
    assert source.line(("b", 1, "nothing", "here")) == 4


def test_anchors_can_be_repeated(tmp_path: Path) -> None:
    """An alias stands for what its anchor holds."""
    assert read(tmp_path, "a: &o {x: 1}\nb: *o") == {"a": {"x": 1}, "b": {"x": 1}}


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{key}: &{key} [{','.join([f'*{before}'] * 10)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        ("a: 1\n\tb: 2\n", 2, "a tab in the indentation"),
        ("", 1, "an empty file"),
        ("# only a comment\n", 1, "an empty file"),
        ("a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key `a` a second time"),
        ("a: !!python/object:os.system x\n", 1, "the tag"),
        ("a: !secret x\n", 1, "the tag"),
        ("? [1, 2]\n: 3\n", 1, "a key that is no plain text"),
        ("a: *nowhere\n", 1, "the alias *nowhere"),
        ("a:\n  b: &loop [*loop]\n", 2, "the alias *loop"),
        ("a: " + "[" * 100_000, 1, "nesting without end"),
        ("\n".join("  " * depth + "a:" for depth in range(500)), 22, "nesting without end"),
        (BOMB, 7, "aliases that multiply"),
        ("a: " + "ü" * 200 + "\nb: \x00\n", 2, "the control character U+0000"),
        (b"a: 1\nb: \xe9\n", 2, "the byte 0xe9"),
        (b"x" * (MAX_BYTES + 1), 0, "10,000,001 bytes"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_that_cannot_be_used_says_where_and_why(
    tmp_path: Path, content: str | bytes, line: int, found: str
) -> None:
    """Every broken or hostile file ends in a fault with its line, and in no other way."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        faults = read_yaml(path).faults
    except DeclarationError as error:
        faults = error.faults
    assert faults[0].line == line
    assert found in str(faults[0])


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """A path that cannot be read is a fault of that path."""
    with pytest.raises(DeclarationError, match=r"nowhere\.yaml: found no readable file"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_all_repeated_keys_are_reported_at_once(tmp_path: Path) -> None:
    """Faults that do not stop the reading are collected."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [fault.path for fault in read_yaml(path).faults] == ["a", "b.c"]
