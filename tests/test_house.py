"""House rules that no linter knows: file sizes, names, twin rooms, no import cycles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ptycho", "ptycho_torch", "parity")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

MOST_LINES = 400

#: Rooms that both wings have, under the same names.
TWIN_ROOMS = {
    "physics.py",
    "layers.py",
    "losses.py",
    "model.py",
    "moments.py",
    "optimisers.py",
    "training.py",
    "model_manager.py",
    "workflows/components.py",
}
#: Rooms of one wing only, and why.
SINGLE_ROOMS = {
    "ptycho": {
        "loader.py": "the client's name for the data door; PyTorch has dataloader.py",
        "tf_helper.py": "the client's name for stitching; PyTorch has helper.py",
        "tensorflow_import.py": "one place that imports TensorFlow or says how to install it",
    },
    "ptycho_torch": {
        "torch_import.py": "one place that imports torch or says how to install it",
        "dataloader.py": "the field's name for PyTorch's data door; TensorFlow has loader.py",
        "helper.py": "the field's name for stitching; TensorFlow has tf_helper.py",
        "config_params.py": "configurations of the client's second plugin, which is PyTorch's",
        "config_bridge.py": "from these to the configurations that both backends share",
        "process_settings.py": "Lightning changes the process; TensorFlow gains nothing by more",
        "processes.py": "Lightning starts processes; TensorFlow trains in one",
        "config_factory.py": "the one execution configuration that there is, PyTorch's, is merged",
        "cli/shared.py": "what the two commands below share",
        "train.py": "ptycho_train with that configuration's flags under their own names",
        "inference.py": "ptycho_inference, likewise",
        "checkpoint.py": "that plugin's saved models are Lightning checkpoints",
        "lightning_utils.py": "where that plugin looks for them",
        "api/base_api.py": "what that plugin calls",
        "api/data_loader.py": "what that plugin calls with a scan",
    },
}
#: The ground floor and the doors that lie in ``ptycho`` without being rooms of a wing.
GROUND_FLOOR = ("config", "core", "io", "simulation", "cli")
GROUND_FILES = {"params.py", "raw_data.py", "probe.py", "workflows/backend_selector.py"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_stay_readable(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines < MOST_LINES


def test_no_drawer_for_everything():
    drawers = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [_name(path) for path in SOURCES if path.name in drawers]


def test_every_package_directory_is_a_package():
    missing = {_name(p.parent) for p in SOURCES if not (p.parent / "__init__.py").exists()}
    assert not missing


# ------------------------------------------------------------------ twin rooms


def _rooms(wing: str) -> set[str]:
    top = ROOT / wing
    files = {p.relative_to(top).as_posix() for p in top.rglob("*.py") if p.name != "__init__.py"}
    if wing == "ptycho":
        files = {f for f in files if f.partition("/")[0] not in GROUND_FLOOR} - GROUND_FILES
    return files


@pytest.mark.parametrize("wing", ["ptycho", "ptycho_torch"])
def test_the_wings_have_the_same_rooms(wing):
    rooms = _rooms(wing)
    assert rooms - set(SINGLE_ROOMS[wing]) == TWIN_ROOMS


@pytest.mark.parametrize("wing", ["ptycho", "ptycho_torch"])
def test_exceptions_are_not_stale(wing):
    assert set(SINGLE_ROOMS[wing]) <= _rooms(wing)


# ------------------------------------------------------------------ cycles


def _is_function(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _import_statements(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield what runs when a module is imported: function bodies do not."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not (_is_function(node) or _is_type_checking(node)):
            inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            yield from _import_statements(inner)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return, per module name, which of the given modules its import runs."""
    graph: dict[str, set[str]] = {}
    for name, text in sources.items():
        targets: set[str] = set()
        for node in _import_statements(ast.parse(text).body):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            else:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    targets.add(full if full in sources else str(node.module))
        graph[name] = (targets & set(sources)) - {name}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one cycle in import order, or nothing."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in done:
            for target in sorted(graph[name]):
                if cycle := visit(target, [*trail, name]):
                    return cycle
            done.add(name)
        return []

    for name in sorted(graph):
        if cycle := visit(name, []):
            return cycle
    return []


def test_no_import_cycles():
    sources = {_module(path): path.read_text(encoding="utf-8") for path in SOURCES}
    assert find_cycle(import_graph(sources)) == []


def test_the_cycle_finder_finds_cycles():
    sources = {
        "a": "import b\n",
        "b": "try:\n    from c import thing\nexcept ImportError:\n    pass\n",
        "c": "def f():\n    import a\n",
    }
    assert find_cycle(import_graph(sources)) == []
    sources["c"] = "from a import f\n"
    assert find_cycle(import_graph(sources)) == ["a", "b", "c", "a"]
