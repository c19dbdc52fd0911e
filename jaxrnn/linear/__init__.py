"""Cells whose recurrence is linear: their steps can be run all at once, and their sequences be split over devices.

`jaxrnn.LinearCell` says what such a cell is.
"""

from jaxrnn.contrib.independent import SRUCell
from jaxrnn.engine.recurrence import Complex
from jaxrnn.linear.devices import time_sharded
from jaxrnn.linear.engines import engine
from jaxrnn.linear.lru import DiagonalCell, LRUCell
from jaxrnn.linear.minimal import MinGRUCell, MinLSTMCell, positive
from jaxrnn.linear.qrnn import QRNNCell
from jaxrnn.linear.rg_lru import RGLRUCell
from jaxrnn.linear.window import CausalWindow

__all__ = [
    "CausalWindow",
    "Complex",
    "DiagonalCell",
    "LRUCell",
    "MinGRUCell",
    "MinLSTMCell",
    "QRNNCell",
    "RGLRUCell",
    "SRUCell",
    "engine",
    "positive",
    "time_sharded",
]
