"""Imports and their effects, frameworks that are absent, dependencies, documents."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

PACKAGES = ("ptycho", "ptycho_torch", "parity")

_IMPORTS = """
import json, logging, os, sys
import numpy as np
before = np.random.get_state()[1].tolist(), logging.getLogger().handlers[:], dict(os.environ)
import ptycho, ptycho.params, ptycho.raw_data, ptycho.probe, ptycho.loader, ptycho.tf_helper
import ptycho.simulation.simulate, ptycho.workflows.components, ptycho.workflows.backend_selector
import ptycho_torch.workflows.components, ptycho_torch.helper, ptycho_torch.dataloader
import ptycho.cli.train, ptycho.cli.inference
print(json.dumps({
    "seeded": np.random.get_state()[1].tolist() != before[0],
    "handlers": logging.getLogger().handlers != before[1],
    "environment": {k: v for k, v in os.environ.items() if before[2].get(k) != v},
    "files": os.listdir("."),
    "frameworks": sorted(
        {"tensorflow", "keras", "torch", "lightning", "mlflow"} & set(sys.modules)
    ),
}))
"""

_WITHOUT_TENSORFLOW = """
import json, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import numpy as np
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.raw_data import RawData
from ptycho_torch.workflows import components
from ptycho_torch import helper
from ptycho.workflows.backend_selector import train_cdi_model_with_backend
from ptycho.config.execution import PyTorchExecutionConfig
rng = np.random.default_rng(0)
x, y = rng.uniform(20, 40, (2, 12))
raw = RawData(x, y, None, None, rng.uniform(1, 2, (12, 32, 32)).astype("f4"),
              np.ones((32, 32), complex), None)
config = TrainingConfig(ModelConfig(N=32, n_filters_scale=1), backend="pytorch", nepochs=1)
execution = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
results = train_cdi_model_with_backend(raw, None, config, torch_execution_config=execution)
amplitude, _, _ = components.reassemble_cdi_image(raw, config, results["model_instance"])
print(json.dumps({"losses": len(results["history"]["loss"]), "image": amplitude.shape[0]}))
"""


@pytest.fixture(scope="module")
def imported(ask, tmp_path_factory):
    """What importing the public modules did to a fresh process in an empty directory."""
    return ask(_IMPORTS, tmp_path_factory.mktemp("empty"))


def _sources(repository):
    for package in PACKAGES:
        for path in sorted((repository / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _imported_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_D_05_model_has_the_parameters_that_the_client_asks_for():
    from ptycho import model, params

    params.cfg["nphotons"] = 17.0
    assert model.params()["nphotons"] == 17.0
    assert callable(model.params)


def test_D_19_F_03_importing_leaves_no_trace(imported):
    assert imported["files"] == []
    assert imported["environment"] == {}
    assert not imported["seeded"]
    assert not imported["handlers"]


def test_D_19_importing_the_doors_loads_no_framework(imported):
    assert imported["frameworks"] == []


def test_T_16_pytorch_works_where_tensorflow_is_absent(ask, tmp_path):
    assert ask(_WITHOUT_TENSORFLOW, tmp_path) == {"losses": 1, "image": pytest.approx(40, abs=12)}


def test_C_13_T_22_P_36_no_tracking_service_is_imported(repository):
    for path, tree in _sources(repository):
        assert "mlflow" not in set(_imported_names(tree)), path


def test_C_32_no_missing_framework_is_passed_over_in_silence(repository):
    """A handler of ImportError raises, or returns a message; it never just goes on."""
    looked_at = 0
    for path, tree in _sources(repository):
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            if "ImportError" in ast.unparse(node.type):
                looked_at += 1
                speaks = any(isinstance(n, ast.Raise | ast.Return) for n in ast.walk(node))
                assert speaks, f"{path}:{node.lineno}"
    assert looked_at >= 3


def test_D_30_every_import_is_declared(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = sum(project["optional-dependencies"].values(), [])
    declared = {
        re.split(r"[<>=!~\[; ]", line)[0].lower().replace("_", "-")
        for line in [*project["dependencies"], *extras]
    }
    owners = importlib.metadata.packages_distributions()
    missing = {}
    for path, tree in _sources(repository):
        for name in set(_imported_names(tree)) - set(sys.stdlib_module_names) - set(PACKAGES):
            found = {owner.lower().replace("_", "-") for owner in owners.get(name, [name])}
            if not found & declared:
                missing.setdefault(name, path)
    assert missing == {}


def test_D_30_commands_exist_inside_the_packages(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    for command, target in project["scripts"].items():
        module = target.partition(":")[0]
        assert module.partition(".")[0] in PACKAGES, command
        assert (repository / (module.replace(".", "/") + ".py")).is_file(), command
    named = set(re.findall(r"\bptycho_[a-z]+\b", (repository / "README.md").read_text()))
    assert named <= set(project["scripts"]) | {"ptycho_torch"}


def test_D_32_a_bundle_builds_one_network_and_a_step_compiles_once(backend, runs, monkeypatch):
    run = runs(backend)
    assert run.results["seconds"] < 60
    room, built = backend.room("model"), []
    names = [
        name
        for name in ("build_models", "build_model", "CnnDiffractionToObject")
        if hasattr(room, name)
    ]
    for name in names:
        original = getattr(room, name)

        def counted(*given, original=original, **named):
            built.append(original)
            return original(*given, **named)

        monkeypatch.setattr(room, name, counted)
    model, _ = backend.room("workflows.components").load_inference_bundle(run.bundle)
    inputs = [np.ones((3, 32, 32, 1), np.float32), np.zeros((3, 1, 2, 1), np.float32)]
    for _ in range(2):
        model.predict(inputs)
    assert len(built) <= 1


def test_F_02_networks_do_not_read_the_legacy_dictionary(backend, start, config_of):
    from ptycho import params

    model = config_of(backend.name).model
    x, offsets = np.ones((1, 32, 32, 1), np.float32), np.zeros((1, 1, 2, 1), np.float32)
    one = backend.evaluate(model, start(model), x, offsets)["object"]
    for key in params.cfg:
        params.cfg[key] = "nonsense"
    np.testing.assert_array_equal(backend.evaluate(model, start(model), x, offsets)["object"], one)


def test_F_02_few_modules_know_the_legacy_dictionary(repository):
    knowing = set()
    for path, tree in _sources(repository):
        if path.parts[len(repository.parts)] == "parity":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "params.cfg",
                "params.get",
            ):
                knowing.add(str(path.relative_to(repository)))
    assert len(knowing) <= 8, knowing


def test_F_25_C_50_documents_name_files_that_exist(repository):
    documents = [*repository.glob("docs/*.md"), *repository.glob("specs/*.md")]
    documents += [repository / "README.md", repository / "CONTRIBUTING.md"]
    named = re.compile(
        r"`((?:ptycho|ptycho_torch|parity|specs|docs|tests)/[\w/.-]+\.(?:py|md|toml))`"
    )
    seen = 0
    for document in documents:
        for name in named.findall(document.read_text(encoding="utf-8")):
            seen += 1
            assert Path(repository / name).is_file(), f"{document.name} names {name}"
    assert seen >= 10
