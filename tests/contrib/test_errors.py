"""Bad arguments and inputs of the cells of jaxrnn.contrib, as tests/test_errors.py has those of the core."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import contrib

KEY = jax.random.key(0)
INPUTS = jnp.ones((4, 7, 3))
CELL = jaxrnn.GRUCell(5)
GRID = functools.partial(contrib.GridLSTMCell, 5, feature_size=2, frequency_skip=1, num_frequency_blocks=[2])


def run(cell, inputs=INPUTS, input_size=3):
    return lambda: jaxrnn.dynamic_rnn(cell, cell.init(KEY, input_size), inputs)


@dataclasses.dataclass(frozen=True)
class Nameless(jaxrnn.RNNCell):
    """A cell that does not say how many units it has."""

    state_size = output_size = 3
    project = recur = gates = combine = lambda self, *args: args


ROWS = [
    # gated, minimal, nas
    ([lambda: contrib.IntersectionRNNCell(0)], ValueError, r"IntersectionRNNCell: expected num_units to be at least 1, got 0"),
    ([lambda: contrib.IntersectionRNNCell(5, 3)], ValueError,
     r"IntersectionRNNCell: expected num_in_proj to be num_units=5 or None, got 3. Inputs and state are mixed"),
    ([run(contrib.IntersectionRNNCell(5))], ValueError,
     r"IntersectionRNNCell\(.*: expected inputs of size num_units=5, got size 3. Set num_in_proj=5, which projects them"),
    ([lambda: contrib.IntersectionRNNCell(5, forget_bias=jnp.inf)], ValueError, r"expected forget_bias to be finite, got inf"),
    ([lambda: contrib.IntersectionRNNCell(5, y_activation="relu")], TypeError, r"expected y_activation to be a function"),
    ([lambda: contrib.MinimalRNNCell(2.5), lambda: contrib.CFNCell(2.5), lambda: contrib.NASCell(2.5)], TypeError,
     r"(MinimalRNNCell|CFNCell|NASCell): expected num_units to be an int, got a float: 2.5"),
    ([lambda: contrib.MinimalRNNCell(5, "tanh"), lambda: contrib.CFNCell(5, "tanh")], TypeError,
     r"(MinimalRNNCell|CFNCell): expected activation to be a function, such as jnp.tanh, or None, got a str"),
    ([lambda: contrib.NASCell(5, num_proj=0)], ValueError, r"NASCell: expected num_proj to be at least 1, got 0"),
    ([lambda: contrib.NASCell(5, use_bias=1)], TypeError, r"NASCell: use_bias: expected True or False, got a int: 1"),
    # block, fused
    ([lambda: contrib.LSTMBlockCell(0), lambda: contrib.GRUBlockCell(0), lambda: contrib.GRUBlockCellV2(0),
      lambda: contrib.LSTMBlockFusedCell(0), lambda: contrib.CudnnCompatibleLSTMCell(0),
      lambda: contrib.CudnnCompatibleGRUCell(0)], ValueError,
     r"(Block|Cudnn)\w+: expected num_units to be at least 1, got 0"),
    ([lambda: contrib.LSTMBlockCell(5, cell_clip=0.0), lambda: contrib.LSTMBlockFusedCell(5, cell_clip=0.0)], ValueError,
     r"LSTMBlock(Fused)?Cell: expected cell_clip to be above 0, got 0.0. Leave it None for no clipping"),
    ([lambda: contrib.LSTMBlockCell(5, use_peephole=1)], TypeError, r"use_peephole: expected True or False, got"),
    ([lambda: contrib.FusedRNNCellAdaptor(5)], TypeError, r"FusedRNNCellAdaptor: expected a cell, got a int: 5"),
    ([lambda: contrib.TimeReversedFusedRNN(5), lambda: contrib.TimeReversedFusedRNN(contrib.LSTMBlockFusedCell)], TypeError,
     r"TimeReversedFusedRNN: expected a fused cell, got a (int|type).* Pass a FusedRNNCellAdaptor, say"),
    ([lambda: contrib.TimeReversedFusedRNN(CELL)], TypeError,
     r"expected a fused cell, which runs a whole sequence, got GRUCell\(.*\), which runs a step. Wrap it: "
     r"TimeReversedFusedRNN\(FusedRNNCellAdaptor\(cell\)\)"),
    ([lambda: contrib.TimeReversedFusedRNN(contrib.FusedRNNCellAdaptor(CELL))((), INPUTS[0, 0])], ValueError,
     r"inputs: expected \[T, B, ...\], got float32\[3\]"),
    # normalized, coupled, weight_norm, layer_norm
    ([lambda: contrib.LayerNormBasicLSTMCell(0), lambda: contrib.LayerNormLSTMCell(0), lambda: contrib.WeightNormLSTMCell(0),
      lambda: contrib.CoupledInputForgetGateLSTMCell(0)], ValueError, r"LSTMCell: expected num_units to be at least 1, got 0"),
    ([lambda: contrib.LayerNormLSTMCell(5, proj_clip=1.0), lambda: contrib.WeightNormLSTMCell(5, proj_clip=1.0),
      lambda: contrib.CoupledInputForgetGateLSTMCell(5, proj_clip=1.0)], ValueError,
     r"(Layer|Weight|Coupled)\w+: expected num_proj beside proj_clip=1.0, got num_proj=None. Give both"),
    ([lambda: contrib.LayerNormBasicLSTMCell(5, layer_norm=1), lambda: contrib.LayerNormLSTMCell(5, layer_norm=1),
      lambda: contrib.CoupledInputForgetGateLSTMCell(5, layer_norm=1)], TypeError,
     r"(Layer|Coupled)\w+: layer_norm: expected True or False, got a int: 1"),
    ([lambda: contrib.WeightNormLSTMCell(5, 1.0)], TypeError, r"WeightNormLSTMCell: norm: expected True or False, got a float"),
    ([lambda: contrib.LayerNormBasicLSTMCell(5, norm_gain=jnp.inf), lambda: contrib.LayerNormLSTMCell(5, norm_gain=jnp.inf),
      lambda: contrib.CoupledInputForgetGateLSTMCell(5, norm_gain=jnp.inf)], ValueError,
     r"(Layer|Coupled)\w+: expected norm_gain to be finite, got inf"),
    ([lambda: contrib.LayerNormBasicLSTMCell(5, dropout_keep_prob=1.5)], ValueError,
     r"LayerNormBasicLSTMCell: expected dropout_keep_prob to be in \[0, 1\], got 1.5"),
    ([lambda: contrib.LayerNormWrapper(5)], TypeError, r"LayerNormWrapper: expected a cell, got a int: 5"),
    ([lambda: contrib.LayerNormWrapper(jaxrnn.MultiRNNCell([CELL])),
      lambda: contrib.LayerNormWrapper(jaxrnn.DropoutWrapper(CELL)),
      lambda: contrib.LayerNormWrapper(contrib.LayerNormBasicLSTMCell(5))], TypeError,
     r"LayerNormWrapper: expected a cell in four functions that draws nothing, got .*Wrap the cells inside a stack or a wrap"),
    ([lambda: contrib.LayerNormWrapper(Nameless())], TypeError,
     r"LayerNormWrapper: expected a cell with num_units, got Nameless\(\). Give it one, the columns of a gate"),
    ([lambda: contrib.LayerNormWrapper(contrib.IntersectionRNNCell(5)), lambda: contrib.LayerNormWrapper(contrib.CFNCell(5)),
      lambda: contrib.LayerNormWrapper(contrib.MinimalRNNCell(5)), lambda: contrib.LayerNormWrapper(contrib.PhasedLSTMCell(5))],
     TypeError, r"LayerNormWrapper: expected a cell whose project gives products alone, got .* has to normalise by itself"),
    ([lambda: contrib.LayerNormWrapper(contrib.GLSTMCell(6, number_of_groups=2)).init(jax.random.key(0), 4)],
     ValueError, r"LayerNormWrapper: expected products in blocks of \d columns, got none of \w+"),
    ([lambda: contrib.LayerNormWrapper(CELL, 0.0)], ValueError, r"LayerNormWrapper: expected epsilon to be above 0, got 0.0.$"),
    # time_freq, grid
    ([lambda: contrib.TimeFreqLSTMCell(5, input_size=3)], TypeError,
     r"TimeFreqLSTMCell: expected feature_size, got None. Build the cell with feature_size=..."),
    ([lambda: contrib.TimeFreqLSTMCell(5, feature_size=3)], TypeError, r"TimeFreqLSTMCell: expected input_size, got None"),
    ([lambda: contrib.TimeFreqLSTMCell(5, feature_size=3, frequency_skip=0, input_size=3)], ValueError,
     r"TimeFreqLSTMCell: expected frequency_skip to be at least 1, got 0"),
    ([lambda: contrib.TimeFreqLSTMCell(5, feature_size=4, input_size=3)], ValueError,
     r"TimeFreqLSTMCell: expected feature_size to be at most input_size=3, got 4"),
    ([run(contrib.TimeFreqLSTMCell(5, feature_size=2, input_size=4))], ValueError,
     r"TimeFreqLSTMCell\(.*: expected inputs of a step to be \[B, 4\], as input_size says, got float32\[4, 3\]"),
    ([lambda: GRID(num_frequency_blocks=None)], TypeError, r"GridLSTMCell: expected num_frequency_blocks, got None"),
    ([lambda: GRID(num_frequency_blocks=2), lambda: GRID(num_frequency_blocks=[0]), lambda: GRID(num_frequency_blocks=[]),
      lambda: GRID(num_frequency_blocks=[1.0])], TypeError, r"expected num_frequency_blocks to be a list of ints from 1, got"),
    ([lambda: GRID(num_frequency_blocks=[1, 1])], ValueError,
     r"GridLSTMCell: expected num_frequency_blocks to be one number, .* got \(1, 1\). Give start_freqindex_list and"),
    ([lambda: GRID(start_freqindex_list=[0]), lambda: GRID(start_freqindex_list=[0, 1], end_freqindex_list=[3])], ValueError,
     r"expected start_freqindex_list and end_freqindex_list to have 1 numbers each, as num_frequency_blocks=\(2,\), got \(0"),
    ([lambda: GRID(start_freqindex_list=[1], end_freqindex_list=[3])], ValueError,
     r"expected num_frequency_blocks\[0\] to be 1, the windows of feature_size=2, frequency_skip=1 in \[1, 3\), got 2"),
    ([run(GRID(num_frequency_blocks=[3]))], ValueError,
     r"GridLSTMCell\(.*: expected inputs with 3 windows, .* got float32\[4, 3\], which has 2. Build .*blocks=\[2\]"),
    ([run(GRID(start_freqindex_list=[1], end_freqindex_list=[4]))], ValueError,
     r"expected inputs with at least 4 features, as end_freqindex_list says, got float32\[4, 3\]"),
    ([lambda: contrib.BidirectionalGridLSTMCell(5, feature_size=2, frequency_skip=1, num_frequency_blocks=[2],
                                                backward_slice_offset=0.5)], TypeError,
     r"BidirectionalGridLSTMCell: expected backward_slice_offset to be an int, got a float: 0.5"),
    # grid_rnn
    ([lambda: contrib.GridRNNCell(5, 2, 2, 0), lambda: contrib.GridRNNCell(5, 2, [0, -1], 0),
      lambda: contrib.GridRNNCell(5, 2, "0", 0)], ValueError,
     r"GridRNNCell: expected input_dims to be dimensions from 0 to 1, as num_dims=2 says, got .*. Give an int, a list of ints"),
    ([lambda: contrib.GridRNNCell(5)], ValueError, r"expected output_dims to be one dimension or more, got none"),
    ([lambda: contrib.GridRNNCell(5, 2, 0, 0, non_recurrent_dims=1)], ValueError,
     r"expected non_recurrent_dims to be among input_dims=\(0,\), got 1, which has neither a state nor inputs"),
    ([lambda: contrib.GridRNNCell(5, 2, 0, 0, cell_fn=lambda n: jaxrnn.MultiRNNCell([CELL]))], TypeError,
     r"GridRNNCell: expected a cell in four functions that draws nothing, got MultiRNNCell"),
    ([lambda: contrib.GridRNNCell(5, 2, 0, 0, cell_fn=lambda n: jaxrnn.LSTMCell(n, num_proj=2)),
      lambda: contrib.GridRNNCell(5, 2, 0, 0, cell_fn=lambda n: jaxrnn.GRUCell(4))], TypeError,
     r"GridRNNCell: expected cell_fn to make a cell with a state h or \(c, h\) and an output h, each of num_units=5, got"),
    ([lambda: contrib.GridRNNCell(5, 2, 0, 0, cell_fn="lstm")], TypeError, r"expected cell_fn to be a function"),
    ([lambda: contrib.GridRNNCell(5, 2, [0, 1], 0).init(KEY, 3)], ValueError,
     r"expected inputs whose size can be cut into 2 equal parts, one for each of input_dims, got size 3"),
    ([lambda: contrib.Grid2LSTMCell(0)], ValueError, r"Grid2LSTMCell: expected num_units to be at least 1, got 0"),
    ([lambda: contrib.Grid3LSTMCell(5, tied=1)], TypeError, r"Grid3LSTMCell: tied: expected True or False, got a int: 1"),
    ([lambda: contrib.Grid2GRUCell(5, non_recurrent_fn=3)], TypeError, r"Grid2GRUCell: expected non_recurrent_fn to be a func"),
    ([lambda: contrib.Grid1BasicLSTMCell(5, forget_bias=jnp.nan)], ValueError, r"Grid1BasicLSTMCell: expected forget_bias to"),
    # independent, phased, grouped
    ([lambda: contrib.SRUCell(0), lambda: contrib.IndRNNCell(0), lambda: contrib.IndyGRUCell(0), lambda: contrib.IndyLSTMCell(0),
      lambda: contrib.PhasedLSTMCell(0), lambda: contrib.GLSTMCell(0)], ValueError, r"Cell: expected num_units to be at least 1, got 0"),
    ([lambda: contrib.SRUCell(5, "tanh"), lambda: contrib.IndRNNCell(5, "tanh"), lambda: contrib.IndyGRUCell(5, "tanh"),
      lambda: contrib.IndyLSTMCell(5, activation="tanh"), lambda: contrib.GLSTMCell(5, activation="tanh")], TypeError,
     r"Cell: expected activation to be a function, such as jnp.tanh, or None, got a str"),
    ([lambda: contrib.IndyLSTMCell(5, forget_bias=jnp.nan), lambda: contrib.GLSTMCell(5, forget_bias=jnp.nan)], ValueError,
     r"(IndyLSTM|GLSTM)Cell: expected forget_bias to be finite, got nan"),
    ([lambda: contrib.PhasedLSTMCell(5, use_peepholes=1), lambda: contrib.PhasedLSTMCell(5, trainable_ratio_on=1)], TypeError,
     r"PhasedLSTMCell: (use_peepholes|trainable_ratio_on): expected True or False, got a int: 1"),
    ([lambda: contrib.PhasedLSTMCell(5, leak=1.5), lambda: contrib.PhasedLSTMCell(5, ratio_on=1.5),
      lambda: contrib.PhasedLSTMCell(5, leak=-0.1)], ValueError,
     r"PhasedLSTMCell: expected (leak|ratio_on) to be in \[0, 1\], got (1.5|-0.1)"),
    ([lambda: contrib.PhasedLSTMCell(5, ratio_on=0.0), lambda: contrib.PhasedLSTMCell(5, period_init_min=0.0)], ValueError,
     r"PhasedLSTMCell: expected (ratio_on|period_init_min) to be above 0, got 0.0"),
    ([lambda: contrib.PhasedLSTMCell(5, period_init_max=0.5)], ValueError,
     r"PhasedLSTMCell: expected period_init_min to be at most period_init_max=0.5, got 1.0"),
    ([run(contrib.PhasedLSTMCell(5))], TypeError,
     r"PhasedLSTMCell\(.*: expected inputs of a step to be a pair \(time \[B, 1\], features \[B, D\]\), got float32\[4, 3\]"),
    ([run(contrib.PhasedLSTMCell(5), (INPUTS, INPUTS))], ValueError,
     r"PhasedLSTMCell\(.*: expected the time of a step to be \[B, 1\], got float32\[4, 3\]. Give each row one"),
    ([lambda: contrib.GLSTMCell(5, number_of_groups=2), lambda: contrib.GLSTMCell(6, num_proj=5, number_of_groups=2),
      run(contrib.GLSTMCell(6, number_of_groups=2)), lambda: jaxrnn.dynamic_rnn(
          contrib.GLSTMCell(6, number_of_groups=2), contrib.GLSTMCell(6, number_of_groups=2).init(KEY, 4), INPUTS)], ValueError,
     r"GLSTMCell: expected (num_units|num_proj|input_size) to be a multiple of number_of_groups=2, got (5|3)"),
    # convolutional
    ([lambda: contrib.ConvLSTMCell(4, (2, 3, 4, 5, 6), 2, (1, 1, 1, 1))], ValueError, r"expected conv_ndims to be 1, 2 or 3, got 4"),
    ([lambda: contrib.ConvLSTMCell(2, (5, 3), 2, (2,)), lambda: contrib.Conv2DLSTMCell(5, 2, (2, 2)),
      lambda: contrib.Conv2DLSTMCell((5, 0, 3), 2, (2, 2)), lambda: contrib.Conv2DLSTMCell((5, 4.0, 3), 2, (2, 2))], ValueError,
     r"Conv(2D)?LSTMCell: expected input_shape to be 3 whole numbers from 1, got .*. Give a tuple"),
    ([lambda: contrib.Conv1DLSTMCell((5, 3), 2, 3), lambda: contrib.Conv1DLSTMCell((5, 3), 2, (3, 3))], ValueError,
     r"Conv1DLSTMCell: expected kernel_shape to be 1 whole numbers from 1, got (3|\(3, 3\))"),
    ([lambda: contrib.Conv1DLSTMCell((5, 3), 0, (3,))], ValueError, r"expected output_channels to be at least 1, got 0"),
    ([lambda: contrib.Conv1DLSTMCell((5, 3), 2, (3,), use_bias=1), lambda: contrib.Conv1DLSTMCell((5, 3), 2, (3,), skip_connection=0)],
     TypeError, r"Conv1DLSTMCell: (use_bias|skip_connection): expected True or False, got a int"),
    ([run(contrib.Conv1DLSTMCell((5, 3), 2, (3,)))], ValueError,
     r"Conv1DLSTMCell\(.*: expected inputs of a step to be \[B, 5, 3\], as input_shape says, got a step of float32\[4, 3\]"),
    ([run(contrib.Conv1DLSTMCell((5, 3), 2, (3,)), jnp.ones((4, 7, 5, 3), int)), run(contrib.Conv1DLSTMCell((5, 3), 2, (3,)),
      (INPUTS, INPUTS))], TypeError, r"Conv1DLSTMCell\(.*: expected floating inputs of a step, one array, got"),
    # wrappers
    ([lambda: contrib.HighwayWrapper(3), lambda: contrib.AttentionCellWrapper(3, 2), lambda: contrib.NTMCell(3, 6, 4, 1, 1)],
     TypeError, r"(HighwayWrapper|AttentionCellWrapper|NTMCell): expected a cell, got a int: 3"),
    ([lambda: contrib.HighwayWrapper(CELL, 1)], TypeError, r"couple_carry_transform_gates: expected True or False, got a int: 1"),
    ([lambda: contrib.HighwayWrapper(CELL, carry_bias_init=jnp.nan)], ValueError, r"expected carry_bias_init to be finite, got nan"),
    ([run(contrib.HighwayWrapper(CELL))], ValueError,
     r"HighwayWrapper.*expected inputs like the inner cell's outputs, .*4, 5.*, got .*4, 3.*. Make the sizes equal\.\s"),
    ([run(contrib.HighwayWrapper(CELL), INPUTS.astype(int))], TypeError, r"HighwayWrapper.*expected floating inputs, got int32"),
    ([lambda: contrib.AttentionCellWrapper(CELL, 0)], ValueError, r"AttentionCellWrapper: expected attn_length to be at least 1, got 0"),
    ([lambda: contrib.AttentionCellWrapper(CELL, 2, attn_size=0), lambda: contrib.AttentionCellWrapper(CELL, 2, attn_vec_size=0),
      lambda: contrib.AttentionCellWrapper(CELL, 2, input_size=0)], ValueError, r"_size to be at least 1, got 0"),
    ([lambda: contrib.AttentionCellWrapper(jaxrnn.ResidualWrapper(CELL, jnp.add), 2)], ValueError,
     r"AttentionCellWrapper: expected attn_size beside a cell whose output_size is None, got None. Give the size"),
    ([lambda: contrib.AttentionCellWrapper(contrib.Conv1DLSTMCell((5, 3), 2, (3,)), 2, attn_size=3)], ValueError,
     r"AttentionCellWrapper: expected the parts of the cell's state to be floating \[B, size\], got state.c of float32\[1, 5, 2\]"),
    # the Turing machine
    ([lambda: contrib.NTMCell(CELL, 0, 4, 1, 1)], ValueError, r"NTMCell: expected memory_size to be at least 1, got 0"),
    ([lambda: contrib.NTMCell(CELL, 6, 4, 1, 1, output_dim=0)], ValueError, r"NTMCell: expected output_dim to be at least 1, got 0"),
    ([lambda: contrib.NTMCell(CELL, 6, 4, 1, 1, clip_value=0)], ValueError, r"NTMCell: expected clip_value to be above 0, got 0"),
    ([run(contrib.NTMCell(CELL, 6, 4, 1, 1), INPUTS.astype(int))], TypeError, r"NTMCell.*: expected floating inputs, got int32"),
    ([run(contrib.NTMCell(CELL, 6, 4, 1, 1), input_size=5)], ValueError,
     r"NTMCell.*: expected params\['controller'\]\['kernel'\] of shape \(7, 15\) for inputs of size 3, got shape \(9, 15\)"),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "error", "text"), ROWS)
def test_bad_input_is_named(calls, error, text):
    for call in calls:
        with pytest.raises(error, match=text):
            call()
