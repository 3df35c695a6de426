"""The dispatcher, with stand-in backends: who is called, with what, in which order."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ptycho import params
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
)
from ptycho.workflows import backend_selector
from ptycho.workflows.backend_selector import (
    available_backends,
    get_backend,
    load_inference_bundle_with_backend,
    run_cdi_example_with_backend,
    train_cdi_model_with_backend,
)


class Recorder(ModuleType):
    """A backend that notes its calls and what ``params.cfg`` said at that moment."""

    def __init__(self, name: str) -> None:
        super().__init__(f"stand_in_{name}")
        self.calls: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.missing = ""

    def _note(self, what: str, **given: Any) -> None:
        self.calls.append((what, given, dict(params.cfg)))

    def require_framework(self) -> None:
        self._note("require_framework")
        if self.missing:
            raise RuntimeError(self.missing)

    def run_cdi_example(self, train, test, config, **keywords):
        self._note("run", train=train, test=test, config=config, **keywords)
        return "amplitude", "phase", {"history": {"loss": [1.0]}}

    def train_cdi_model(self, train, test, config, **keywords):
        self._note("train", train=train, test=test, config=config, **keywords)
        return {"history": {"loss": [1.0]}}

    def load_inference_bundle(self, path):
        self._note("load", path=path)
        return "model", {"N": 32}


@pytest.fixture
def backends(monkeypatch):
    found = {name: Recorder(name) for name in ("tensorflow", "pytorch", "newcomer")}
    points = []
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(EntryPoint(name, module.__name__, "ptychopinn.backends"))
    monkeypatch.setattr(backend_selector, "entry_points", lambda group: points)
    return found


def _config(backend: str = "tensorflow", **changes: Any) -> TrainingConfig:
    return TrainingConfig(model=ModelConfig(N=32, gridsize=2), backend=backend, **changes)


def _calls(backend: Recorder) -> list[str]:
    return [what for what, _, _ in backend.calls]


# ------------------------------------------------------------------ the installed package


def test_both_wings_are_installed_as_entry_points():
    assert {"tensorflow", "pytorch"} <= set(available_backends())


@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_the_wings_are_found_under_their_names(name):
    assert name == get_backend(name).BACKEND


def test_unknown_backend_names_those_there_are():
    with pytest.raises(ValueError, match=r"unknown backend 'jax'; available: .*pytorch.*tensorfl"):
        get_backend("jax")


# ------------------------------------------------------------------ dispatch


@pytest.mark.parametrize("name", ["tensorflow", "pytorch", "newcomer"])
def test_only_the_chosen_backend_is_called_and_named_in_the_results(backends, name):
    amplitude, phase, results = run_cdi_example_with_backend("a", "b", _config(name), M=8)
    assert (amplitude, phase, results["backend"]) == ("amplitude", "phase", name)
    assert train_cdi_model_with_backend("a", None, _config(name))["backend"] == name
    assert {other for other, module in backends.items() if module.calls} == {name}


@pytest.mark.parametrize("chosen", ["flip_x", "flip_y", "transpose", "do_stitching"])
def test_arguments_arrive(backends, chosen):
    config = _config()
    run_cdi_example_with_backend("a", "b", config, M=7, **{chosen: True})
    _, given, _ = backends["tensorflow"].calls[-1]
    assert given == {
        "train": "a",
        "test": "b",
        "config": config,
        "flip_x": chosen == "flip_x",
        "flip_y": chosen == "flip_y",
        "transpose": chosen == "transpose",
        "M": 7,
        "do_stitching": chosen == "do_stitching",
    }


def test_params_hold_the_configuration_before_the_backend_is_touched(backends):
    params.cfg["gridsize"] = 5
    train_cdi_model_with_backend("a", None, _config("pytorch", nphotons=123.0))
    what, _, cfg = backends["pytorch"].calls[0]
    assert what == "require_framework"
    assert (cfg["gridsize"], cfg["nphotons"], cfg["backend"]) == (2, 123.0, "pytorch")


def test_params_are_updated_before_a_bundle_is_loaded(backends):
    config = InferenceConfig(
        ModelConfig(N=32, gridsize=3), Path("b"), Path("t"), backend="pytorch", neighbor_count=9
    )
    model, restored = load_inference_bundle_with_backend("somewhere", config)
    assert (model, restored) == ("model", {"N": 32})
    assert _calls(backends["pytorch"]) == ["require_framework", "load"]
    assert backends["pytorch"].calls[0][2]["neighbor_count"] == 9
    assert backends["pytorch"].calls[-1][1] == {"path": "somewhere"}
    assert not backends["tensorflow"].calls


def test_execution_config_reaches_pytorch_only(backends, caplog):
    execution = PyTorchExecutionConfig(accelerator="cpu")
    train_cdi_model_with_backend("a", None, _config("pytorch"), execution)
    assert backends["pytorch"].calls[-1][1]["execution_config"] is execution
    train_cdi_model_with_backend("a", None, _config("pytorch"))
    assert backends["pytorch"].calls[-1][1]["execution_config"] == PyTorchExecutionConfig()
    assert not caplog.records
    run_cdi_example_with_backend("a", None, _config(), torch_execution_config=execution)
    assert "execution_config" not in backends["tensorflow"].calls[-1][1]
    assert "does not use torch_execution_config" in caplog.text


# ------------------------------------------------------------------ refusals


def test_unknown_backend_is_refused_after_params_are_written(backends):
    config = _config("caffe")
    with pytest.raises(ValueError, match="'caffe'; available: newcomer, pytorch, tensorflow"):
        run_cdi_example_with_backend("a", None, config)
    assert params.cfg["gridsize"] == 2
    with pytest.raises(ValueError, match="'caffe'"):
        load_inference_bundle_with_backend(".", config)


def test_a_bad_configuration_is_refused_before_the_framework_is_loaded(backends):
    with pytest.raises(ValueError, match=r"TrainingConfig\.batch_size is 0"):
        train_cdi_model_with_backend("a", None, _config("pytorch", batch_size=0))
    assert not backends["pytorch"].calls


def test_a_missing_framework_speaks_for_itself(backends):
    backends["pytorch"].missing = "PyTorch backend selected, but torch is not installed"
    with pytest.raises(RuntimeError, match="PyTorch backend selected"):
        train_cdi_model_with_backend("a", None, _config("pytorch"))
    assert _calls(backends["pytorch"]) == ["require_framework"]


def test_a_backend_that_cannot_be_imported_is_a_runtime_error(monkeypatch):
    point = EntryPoint("broken", "no_such_module_anywhere", "ptychopinn.backends")
    monkeypatch.setattr(backend_selector, "entry_points", lambda group: [point])
    with pytest.raises(RuntimeError, match="'broken' .*no_such_module_anywhere"):
        get_backend("broken")


def test_one_name_for_two_backends_is_refused(monkeypatch):
    points = [EntryPoint("pytorch", value, "ptychopinn.backends") for value in ("a.b", "c.d")]
    monkeypatch.setattr(backend_selector, "entry_points", lambda group: points)
    with pytest.raises(RuntimeError, match=r"declared twice.*a\.b and c\.d"):
        available_backends()


def test_no_backend_at_all_says_how_to_install(monkeypatch):
    monkeypatch.setattr(backend_selector, "entry_points", lambda group: [])
    with pytest.raises(ValueError, match="none .*pip install"):
        get_backend("tensorflow")


def test_only_the_inference_model_is_loaded_by_name(backends):
    config = InferenceConfig(ModelConfig(), Path("b"), Path("t"))
    with pytest.raises(KeyError, match="diffraction_to_obj"):
        load_inference_bundle_with_backend("somewhere", config, model_name="autoencoder")
