"""Who may import whom, and how large modules and folders may grow: parsed from the sources, so that no rule is only a wish."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
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
# What a wing may import of its own room, besides itself.
WINGS = {
    "experiments.declarations": set(),
    "experiments.assignment": {"experiments.declarations"},
    "server.http": set(),
    "server.assign": {"server.http"},
    "server.ingest": {"server.http", "server.assign"},
    "analysis.stats": set(),
    "analysis.queries": {"analysis.stats"},
    "analysis.planning": {"analysis.stats", "analysis.queries"},
    "analysis.reports": {"analysis.stats", "analysis.queries", "analysis.planning"},
    "analysis.render": {"analysis.reports", "analysis.planning"},
    "analysis.dashboard": {"analysis.queries", "analysis.reports", "analysis.render"},
}
PATHS = sorted(path for room in ALLOWED for path in (ROOT / room).rglob("*.py"))
FOLDERS = sorted({path.parent for path in PATHS})
MAX_LINES = 400
MAX_ENTRIES = 12


def name_of(path: Path) -> str:
    """Return the dotted name of a module; a package's is that of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PATHS}


def imports(path: Path) -> set[str]:
    """Return what a module imports: at its top, in functions, and for type checkers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {
                submodule if (submodule := f"{module}.{alias.name}") in MODULES else module for alias in node.names
            }
    return names


def libraries(path: Path) -> set[str]:
    """Return the top-level packages that a module imports."""
    return {name.split(".")[0] for name in imports(path)}


GRAPH: Mapping[str, set[str]] = {name: imports(path) & set(MODULES) for name, path in MODULES.items()}


def wing_of(module: str) -> str:
    """Return the folder below the room that a module lies in, or the module itself where it lies in the room."""
    parts = module.split(".")
    return ".".join(parts[:2])


def wings_of(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which wings import which: lazily offered names of a room's own `__init__` left out."""
    edges: dict[str, set[str]] = {}
    for module, targets in graph.items():
        if "." in module:
            edges.setdefault(wing_of(module), set()).update(wing_of(target) for target in targets if "." in target)
    return {wing: targets - {wing} for wing, targets in edges.items()}


def cycle_in(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names along one cycle; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            cycle = visit(target, [*path, name])
            if cycle:
                return cycle
        done.add(name)
        return []

    return next((cycle for name in sorted(graph) if (cycle := visit(name, []))), [])


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_the_rooms_below_it(name: str) -> None:
    """A room imports itself, the rooms that the design lets it, and libraries."""
    room = name.split(".")[0]
    others = (libraries(MODULES[name]) & (set(ALLOWED) | {"crosslift", "tests"})) - {room}
    assert others <= ALLOWED[room]


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_the_wings_below_it(wing: str) -> None:
    """Of the wings of its room, a wing imports those that the design lets it."""
    assert any(wing_of(name) == wing for name in MODULES)
    for name, targets in GRAPH.items():
        if wing_of(name) == wing:
            siblings = {wing_of(target) for target in targets if target.split(".")[0] == wing.split(".")[0]}
            assert siblings & set(WINGS) - {wing} <= WINGS[wing], name


def test_no_modules_import_each_other() -> None:
    """There is no cycle, imports in functions and for type checkers counted."""
    assert cycle_in(GRAPH) == []


def test_no_wings_import_each_other() -> None:
    """Nor between folders, or a folder and a module beside it."""
    assert cycle_in(wings_of(GRAPH)) == []


def test_a_cycle_is_found() -> None:
    """Or the tests above would pass whatever is imported."""
    assert cycle_in({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]


def test_rendering_sees_the_model_alone() -> None:
    """What renders reports cannot reach stores, studies or statistics."""
    below = {"analysis.render", "analysis.planning"}
    for name, targets in GRAPH.items():
        if wing_of(name) == "analysis.render":
            others = {target for target in targets if target.startswith("analysis.") and wing_of(target) not in below}
            assert others <= {"analysis.reports.model"}, name


def test_reports_read_the_store_in_one_place() -> None:
    """Only `report` itself reads a study; all that computes it has no way to a store."""
    for name, targets in GRAPH.items():
        if wing_of(name) == "analysis.reports":
            readers = {"analysis.queries.source", "analysis.queries.exposures"}
            assert not {one for one in targets if one in readers or one.startswith("analysis.queries.engines")}, name
    users = [name for name, path in MODULES.items() if "read_study" in path.read_text(encoding="utf-8")]
    assert users == ["analysis.queries.study", "analysis.reports.experiment"]


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
        assert not libraries(path) & impure, path


@pytest.mark.parametrize("name", MODULES)
def test_modules_stay_readable(name: str) -> None:
    """No module grows beyond 400 lines."""
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_folders_stay_readable(folder: Path) -> None:
    """No folder of code holds more than 12 entries, and each says in a README.md what lives there."""
    entries = [entry for entry in folder.iterdir() if entry.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= MAX_ENTRIES
    assert (folder / "README.md").is_file()


def modules_after(statement: str) -> set[str]:
    """Return the modules that a fresh Python has loaded after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_command_line_starts_without_statistics() -> None:
    """`crosslift --help` loads neither frames nor statistics nor the web server."""
    heavy = {"pandas", "numpy", "scipy", "statsmodels", "ibis", "duckdb", "flask", "granian", "sqlite_utils"}
    assert not modules_after("import crosslift") & heavy


def test_the_web_process_never_loads_pandas(tmp_path: Path) -> None:
    """A worker on a store that is up to date loads no pandas and no statistics."""
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
