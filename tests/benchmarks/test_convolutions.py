"""What a step is measured beside is the network's own convolutions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from benchmarks.convolutions import both, convolutions_of, torch_convolutions
from ptycho.config.config import ModelConfig
from ptycho.core.weights import conv_layers
from ptycho_torch.layers import DoubledConv
from ptycho_torch.model import CnnDiffractionToObject, canonical_name

CASES = [
    ModelConfig(N=32, n_filters_scale=1, pad_object=pad, probe_big=big)
    for pad, big in itertools.product((True, False), repeat=2)
]


@pytest.mark.parametrize("model", CASES, ids=lambda m: f"pad {m.pad_object}, big {m.probe_big}")
def test_they_are_those_that_the_network_carries_out(model: ModelConfig) -> None:
    seen: dict[str, tuple[Any, ...]] = {}
    network = CnnDiffractionToObject(model)
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):

            def record(layer: Any, given: Any, result: Any, name: str = name) -> None:
                key = canonical_name(f"{name}.weight").removesuffix("/kernel")
                kind = isinstance(layer, DoubledConv)
                seen[key] = (given[0].shape[1], result.shape[1], result.shape[2], kind)

            layer.register_forward_hook(record)
    network.network(torch.zeros(1, 1, 32, 32))
    names = [layer.name for layer in conv_layers(model)]
    expected = {
        name: (conv.inputs, conv.outputs, conv.side, conv.doubled)
        for name, conv in zip(names, convolutions_of(model), strict=True)
    }
    assert seen == expected


def test_both_forms_give_images_of_one_size() -> None:
    convs = convolutions_of(CASES[0])
    floors = both(torch_convolutions, convs, 2)
    assert sorted(floors) == [
        "carried out of prediction", "carried out of step",
        "floor of prediction", "floor of step",
    ]  # fmt: skip
    plain, carried_out = (floors[f"{what} of step"]() for what in ("floor", "carried out"))
    # Gradients of all inputs but the first, of kernels and of biases.
    assert len(plain) == len(carried_out) == 3 * len(convs) - 1
    sizes = [
        (big.shape[-1], small.shape[-1]) for big, small in zip(plain, carried_out, strict=True)
    ]
    halved = [small for big, small in sizes if big == 2 * small]
    assert len(halved) == sum(conv.doubled for conv in convs)
