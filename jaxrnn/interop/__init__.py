"""Weights in and out of other frameworks, none of which is imported here: names to arrays, arrays to names."""

from jaxrnn.interop.equinox import from_equinox, to_equinox
from jaxrnn.interop.flax import from_flax, to_flax
from jaxrnn.interop.haiku import from_haiku, to_haiku
from jaxrnn.interop.keras import from_keras, to_keras
from jaxrnn.interop.tf1 import from_tf1, to_tf1
from jaxrnn.interop.tf1_checkpoint import read_tf1_checkpoint
from jaxrnn.interop.torch import from_torch, to_torch

__all__ = [
    "from_equinox",
    "from_flax",
    "from_haiku",
    "from_keras",
    "from_tf1",
    "from_torch",
    "read_tf1_checkpoint",
    "to_equinox",
    "to_flax",
    "to_haiku",
    "to_keras",
    "to_tf1",
    "to_torch",
]
