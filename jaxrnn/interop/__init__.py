"""Weights in and out of other frameworks, none of which is imported here: names to arrays, arrays to names."""

from jaxrnn.interop.tf1 import from_tf1, to_tf1
from jaxrnn.interop.torch import from_torch, to_torch

__all__ = ["from_tf1", "from_torch", "to_tf1", "to_torch"]
