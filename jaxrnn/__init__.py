"""TF1's recurrent network runners and cells as pure JAX functions: exact, small in memory, fast, plain."""

from jaxrnn import analysis, contrib, distributed, interop, linear, memory, seq2seq, testing
from jaxrnn.activation import activate, sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.dropout import DropoutWrapper
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.linear import LinearCell
from jaxrnn.cells.lstm import LSTMCell, LSTMStateTuple
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.cells.states import StateOutputWrapper
from jaxrnn.cells.wrappers import EmbeddingWrapper, InputProjectionWrapper, OutputProjectionWrapper, ResidualWrapper
from jaxrnn.cells.zoneout import ZoneoutWrapper
from jaxrnn.engine.fixed_point import Newton
from jaxrnn.engine.tuning import tuned_for
from jaxrnn.episodes import resets_from_dones
from jaxrnn.keys import StepKey, step_key
from jaxrnn.packing import Packing, pack_sequences
from jaxrnn.runners.bidirectional import bidirectional_dynamic_rnn, static_bidirectional_rnn
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.runners.parallel import NewtonReport, newton_report
from jaxrnn.runners.planner import memory_plans, plan_memory
from jaxrnn.runners.raw import raw_rnn
from jaxrnn.runners.stacked import stack_bidirectional_dynamic_rnn
from jaxrnn.runners.static import static_rnn
from jaxrnn.runners.truncated import StreamState, truncated_rnn
from jaxrnn.xla_options import compiler_options

__version__ = "0.1.0"

__all__ = [
    "BasicRNNCell",
    "DropoutWrapper",
    "EmbeddingWrapper",
    "GRUCell",
    "InputProjectionWrapper",
    "LSTMCell",
    "LSTMStateTuple",
    "LinearCell",
    "MultiRNNCell",
    "Newton",
    "NewtonReport",
    "OutputProjectionWrapper",
    "Packing",
    "RNNCell",
    "ResidualWrapper",
    "StateOutputWrapper",
    "StepKey",
    "StreamState",
    "ZoneoutWrapper",
    "activate",
    "analysis",
    "bidirectional_dynamic_rnn",
    "compiler_options",
    "contrib",
    "distributed",
    "dynamic_rnn",
    "interop",
    "linear",
    "memory",
    "memory_plans",
    "newton_report",
    "pack_sequences",
    "plan_memory",
    "raw_rnn",
    "resets_from_dones",
    "seq2seq",
    "sigmoid",
    "stack_bidirectional_dynamic_rnn",
    "static_bidirectional_rnn",
    "static_rnn",
    "step_key",
    "tanh",
    "testing",
    "truncated_rnn",
    "tuned_for",
]
