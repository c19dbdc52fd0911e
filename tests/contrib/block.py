"""The cells that TF1 has as one op a step: their steps in numpy, which are the core's, and the cells of their goldens."""

from jaxrnn.contrib import CudnnCompatibleGRUCell, CudnnCompatibleLSTMCell, GRUBlockCell, GRUBlockCellV2, LSTMBlockCell
from tests import oracle
from tests.rows import Row

# Without a clip, whose gradient is no difference of values: the goldens have it.
ROWS = [
    Row("lstm_block", LSTMBlockCell(5, use_peephole=True), oracle.lstm(5, peepholes=True)),
    Row("gru_block", GRUBlockCell(5), oracle.gru(5, False)),
    Row("cudnn_lstm", CudnnCompatibleLSTMCell(5), oracle.lstm(5)),
    Row("cudnn_gru", CudnnCompatibleGRUCell(5), oracle.gru(5, True)),
]
GOLDENS = {
    "lstm_block": LSTMBlockCell(5),
    "lstm_block_full": LSTMBlockCell(5, forget_bias=0.7, cell_clip=0.3, use_peephole=True),
    "gru_block": GRUBlockCell(5),
    "gru_block_v2": GRUBlockCellV2(5),
    "cudnn_compatible_lstm": CudnnCompatibleLSTMCell(5),
    "cudnn_compatible_gru": CudnnCompatibleGRUCell(5),
}
