"""Who may import whom, and how large a module may grow: parsed from the sources, so that no convention is only a wish."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "experiments": set(),
    "events": {"experiments"},
    "server": {"experiments", "events"},
    "analysis": {"experiments", "events"},
    "simulation": {"experiments", "events"},
    "storefront": {"experiments"},
}
MODULES = sorted(path for room in ALLOWED for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Give the top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    """A room imports itself, the rooms that the design lets it, and libraries."""
    room = path.relative_to(ROOT).parts[0]
    others = (imported(path) & (set(ALLOWED) | {"crosslift", "tests"})) - {room}
    assert others <= ALLOWED[room]


def test_experiments_are_pure() -> None:
    """Declarations and assignment know no database, no HTTP and no frames."""
    impure = {
        "sqlite3",
        "sqlite_utils",
        "flask",
        "http",
        "socket",
        "urllib",
        "pandas",
        "numpy",
        "ibis",
        "random",
        "time",
    }
    for path in (ROOT / "experiments").rglob("*.py"):
        assert not imported(path) & impure, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    """No module grows beyond 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def modules_after(statement: str) -> set[str]:
    """Give the modules that a fresh Python has loaded after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_command_line_starts_without_statistics() -> None:
    """`crosslift --help` loads neither frames nor statistics nor the web server."""
    heavy = {"pandas", "numpy", "scipy", "statsmodels", "ibis", "duckdb", "flask", "granian", "sqlite_utils"}
    assert not modules_after("import crosslift") & heavy


def test_the_web_process_never_loads_pandas(tmp_path: Path) -> None:
    """A worker on a store that is up to date loads no pandas."""
    url = f"sqlite:///{tmp_path / 'events.db'}"
    modules_after(f"import events; events.open_store({url!r})")  # migrates, in a process of its own
    statement = f"from server import create_app; create_app('configs', {url!r})"
    assert not modules_after(statement) & {"pandas", "numpy", "scipy", "statsmodels", "sqlite_utils"}


def test_rooms_export_what_the_design_names() -> None:
    """The names that users hold on to."""
    import analysis
    import events
    import experiments
    import server

    assert {"load", "assign"} <= set(experiments.__all__)
    assert "open_store" in events.__all__
    assert server.__all__ == ["create_app"]
    assert {"report", "analyze", "Moments", "lift"} <= set(analysis.__all__)
    for room in (experiments, events, server, analysis):
        for name in room.__all__:
            assert getattr(room, name) is not None
    assert callable(analysis.lift)
    assert callable(analysis.report)
