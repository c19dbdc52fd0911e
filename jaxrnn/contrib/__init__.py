"""The cells and wrappers of TF1's `tf.contrib.rnn`, under their names, one family a file."""

from jaxrnn.contrib.gated import UGRNNCell

__all__ = ["UGRNNCell"]
