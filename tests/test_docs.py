"""The README does what it says: its commands run, and print what it shows."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import crosslift
from tests.conftest import ROOT, Server

Run = Callable[..., Result]
Serve = Callable[..., Server]

README = (ROOT / "README.md").read_text(encoding="utf-8")


def sessions() -> list[tuple[str, str]]:
    """Return every command that the README shows with its output."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def steady(output: str) -> str:
    """Take out what differs from day to day: the time of the report, and the signature of a token."""
    output = re.sub(r"as of \d{4}-\d\d-\d\d \d\d:\d\d UTC", "as of NOW", output)
    output = re.sub(r'"exposure_token": "[^"]*"', '"exposure_token": "TOKEN"', output)
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


def test_the_readme_shows_true_output(serve: Serve, run: Run, store_url: str, tmp_path: Path) -> None:
    """Explain, ask over HTTP, simulate, report: each prints to the letter what the README shows."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    server = serve(tmp_path / "configs")
    simulated = ("simulate", "--server", f"http://127.0.0.1:{server.port}", "--key", server.keys["secret"])
    assert run(*simulated, "--configs", tmp_path / "configs").exit_code == 0
    environment = os.environ | {
        "PUBLISHABLE_KEY": server.keys["publishable"],
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
    }
    commands = sessions()
    assert len(commands) == 3
    for command, output in commands:
        line = command.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        line = line.replace("sqlite:///demo/crosslift.db", store_url)
        if line.startswith("crosslift "):
            line = f"{shlex.quote(sys.executable)} -m {line}"
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
        )
        assert steady(done.stdout) == steady(output), command


ROOMS = ("experiments", "events", "server", "analysis", "simulation", "storefront")
WITH_EXAMPLES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if ">>> " in path.read_text()]
EXAMPLES = ["README.md", *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in WITH_EXAMPLES)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_prose_and_docstrings_run(name: str) -> None:
    """Every `>>>` gives what stands below it."""
    if name.endswith(".md"):
        result = doctest.testfile(str(ROOT / name), module_relative=False)
    else:
        result = doctest.testmod(__import__(name, fromlist=["x"]))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_command_is_documented() -> None:
    """A command without help, or without a place in the documentation, is not finished."""
    text = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    for name, command in crosslift.cli.commands.items():
        assert command.help, name
        assert f"crosslift {name}" in text, name
        for option in command.params:
            assert getattr(option, "help", "an argument") != "", (name, option.name)


def test_links_lead_somewhere() -> None:
    """Every relative link in the documentation is a file of the repository."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
