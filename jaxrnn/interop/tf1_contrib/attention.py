"""Weights of cells with attention, from the modules of `jaxrnn.seq2seq`.

    cell               names                                                               TF1's shape
    AttentionWrapper   memory_layer/kernel                      in a scope of its own      [Dm, U]
                       attention_wrapper/<cell>/...             the inner cell's
                       attention_wrapper/<mechanism>/...        see below
                       attention_wrapper/attention_layer/kernel (, bias; "dense" too)      [H + Dm, A]
    Luong              attention_g                              with scale                 []
    Bahdanau           query_layer/kernel, attention_v                                     [H, U], [U]
                       attention_g, attention_b                 with normalize             [], [U]
    monotonic          attention_score_bias                                                []

<mechanism> is luong_attention, bahdanau_attention, luong_monotonic_attention or bahdanau_monotonic_attention. Of several
mechanisms the second memory_layer is memory_layer_1, the second attention_layer is attention_layer_1, and so is the second
mechanism of a kind. TF1 makes the memory's layer with the mechanism, where no cell's scope is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from jaxrnn.cells.inner import part
from jaxrnn.interop.arrays import inside, under
from jaxrnn.interop.weights import Framework, Layout
from jaxrnn.seq2seq.attention_wrapper import AttentionWrapper
from jaxrnn.seq2seq.dense import Dense
from jaxrnn.seq2seq.mechanisms import BahdanauAttention, BahdanauScore, LuongAttention, LuongScore
from jaxrnn.seq2seq.monotonic import BahdanauMonotonicAttention, LuongMonotonicAttention, Monotonic

_SCOPE = "attention_wrapper/"
_MECHANISMS = {
    LuongAttention: "luong_attention",
    BahdanauAttention: "bahdanau_attention",
    LuongMonotonicAttention: "luong_monotonic_attention",
    BahdanauMonotonicAttention: "bahdanau_monotonic_attention",
}


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def read(cell, take):
        own = inside(_SCOPE, take)
        weights = [
            {key: (take if key == "memory_kernel" else own)(name) for key, name in names.items()} for names in _names(cell)
        ]
        params = {"cell": framework().read(cell.cell, own), "attention": cell.as_given(weights)}
        if any(cell.layers):
            params["attention_layer"] = cell.as_given(
                [{key: own(name) for key, name in names.items()} for names in _layers(cell)]
            )
        return params

    def write(cell, params):
        weights = under(_SCOPE, framework().write(cell.cell, part(params, "cell")))
        for names, arrays in zip(_names(cell), cell.each(params["attention"]), strict=True):
            weights.update({("" if key == "memory_kernel" else _SCOPE) + name: arrays[key] for key, name in names.items()})
        for names, arrays in zip(_layers(cell), cell.each(params.get("attention_layer", ())), strict=False):
            weights.update({_SCOPE + name: arrays[key] for key, name in names.items()})
        return weights

    return {AttentionWrapper: Layout(read, write)}


def _names(cell: Any) -> list[dict[str, str]]:
    """For each mechanism, name in its params -> TF1's."""
    seen, names = Counter(), []
    for i, mechanism in enumerate(cell.mechanisms):
        scope = _MECHANISMS.get(type(mechanism))
        if scope is None:
            raise TypeError(f"tf1: expected a mechanism that TF1 has too, got {mechanism!r}. Convert its parts by themselves.")
        scope = _numbered(scope, seen[scope])
        seen[_MECHANISMS[type(mechanism)]] += 1
        own = {"memory_kernel": f"//{_numbered('memory_layer', i)}/kernel"}  # "//": in a scope of its own
        plain = []
        if isinstance(mechanism, BahdanauScore):
            own["query_kernel"] = f"{scope}/query_layer/kernel"
            plain += ["attention_v"] + ["attention_g", "attention_b"] * mechanism.normalize
        if isinstance(mechanism, LuongScore):
            plain += ["attention_g"] * mechanism.scale
        if isinstance(mechanism, Monotonic):
            plain.append("attention_score_bias")
        names.append({**own, **{name: f"{scope}/{name}" for name in plain}})
    return names


def _layers(cell: Any) -> list[dict[str, str]]:
    """For each mechanism with a layer, name in the layer's params -> TF1's."""
    names = []
    for i, layer in enumerate(filter(None, cell.layers)):
        if type(layer) is not Dense:
            raise TypeError(
                f"tf1: expected an attention_layer that is a Dense, got {layer!r}. Convert its parts by themselves."
            )
        names.append({name: f"{_numbered('attention_layer', i)}/{name}" for name in ["kernel"] + ["bias"] * layer.use_bias})
    return names


def _numbered(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name
