"""The cells and wrappers of TF1's `tf.contrib.rnn`, under their names, one family a file."""

from jaxrnn.contrib.bidirectional_grid import BidirectionalGridLSTMCell
from jaxrnn.contrib.block import CudnnCompatibleGRUCell, CudnnCompatibleLSTMCell, GRUBlockCell, GRUBlockCellV2, LSTMBlockCell
from jaxrnn.contrib.convolutional import Conv1DLSTMCell, Conv2DLSTMCell, Conv3DLSTMCell, ConvLSTMCell
from jaxrnn.contrib.coupled import CoupledInputForgetGateLSTMCell
from jaxrnn.contrib.fused import FusedRNNCellAdaptor, LSTMBlockFusedCell, TimeReversedFusedRNN
from jaxrnn.contrib.gated import IntersectionRNNCell, UGRNNCell
from jaxrnn.contrib.grid import GridLSTMCell
from jaxrnn.contrib.grid_rnn import GridRNNCell
from jaxrnn.contrib.grid_rnn_cells import (
    Grid1BasicLSTMCell,
    Grid1BasicRNNCell,
    Grid1LSTMCell,
    Grid2BasicLSTMCell,
    Grid2BasicRNNCell,
    Grid2GRUCell,
    Grid2LSTMCell,
    Grid3LSTMCell,
)
from jaxrnn.contrib.grouped import GLSTMCell
from jaxrnn.contrib.independent import IndRNNCell, IndyGRUCell, IndyLSTMCell, SRUCell
from jaxrnn.contrib.layer_norm import LayerNormWrapper
from jaxrnn.contrib.minimal import CFNCell, MinimalRNNCell
from jaxrnn.contrib.nas import NASCell
from jaxrnn.contrib.normalized import LayerNormBasicLSTMCell, LayerNormLSTMCell
from jaxrnn.contrib.ntm import NTMCell, NTMControllerState
from jaxrnn.contrib.phased import PhasedLSTMCell
from jaxrnn.contrib.time_freq import TimeFreqLSTMCell
from jaxrnn.contrib.weight_norm import WeightNormLSTMCell
from jaxrnn.contrib.wrappers import AttentionCellWrapper, HighwayWrapper

__all__ = [
    "AttentionCellWrapper",
    "BidirectionalGridLSTMCell",
    "CFNCell",
    "Conv1DLSTMCell",
    "Conv2DLSTMCell",
    "Conv3DLSTMCell",
    "ConvLSTMCell",
    "CoupledInputForgetGateLSTMCell",
    "CudnnCompatibleGRUCell",
    "CudnnCompatibleLSTMCell",
    "FusedRNNCellAdaptor",
    "GLSTMCell",
    "GRUBlockCell",
    "GRUBlockCellV2",
    "Grid1BasicLSTMCell",
    "Grid1BasicRNNCell",
    "Grid1LSTMCell",
    "Grid2BasicLSTMCell",
    "Grid2BasicRNNCell",
    "Grid2GRUCell",
    "Grid2LSTMCell",
    "Grid3LSTMCell",
    "GridLSTMCell",
    "GridRNNCell",
    "HighwayWrapper",
    "IndRNNCell",
    "IndyGRUCell",
    "IndyLSTMCell",
    "IntersectionRNNCell",
    "LSTMBlockCell",
    "LSTMBlockFusedCell",
    "LayerNormBasicLSTMCell",
    "LayerNormLSTMCell",
    "LayerNormWrapper",
    "MinimalRNNCell",
    "NASCell",
    "NTMCell",
    "NTMControllerState",
    "PhasedLSTMCell",
    "SRUCell",
    "TimeFreqLSTMCell",
    "TimeReversedFusedRNN",
    "UGRNNCell",
    "WeightNormLSTMCell",
]
