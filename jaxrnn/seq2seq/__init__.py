"""Decoding and attention: TF1's `tf.contrib.seq2seq`, under its names."""

from jaxrnn.seq2seq.attention_wrapper import AttentionWrapper, AttentionWrapperState
from jaxrnn.seq2seq.basic import BasicDecoder, BasicDecoderOutput
from jaxrnn.seq2seq.beam import (
    BeamSearchDecoder,
    BeamSearchDecoderOutput,
    BeamSearchDecoderState,
    FinalBeamSearchDecoderOutput,
)
from jaxrnn.seq2seq.decoder import Decoder, dynamic_decode
from jaxrnn.seq2seq.dense import Dense
from jaxrnn.seq2seq.helpers import CustomHelper, GreedyEmbeddingHelper, InferenceHelper, SampleEmbeddingHelper
from jaxrnn.seq2seq.loss import sequence_loss
from jaxrnn.seq2seq.mechanisms import AttentionMechanism, BahdanauAttention, LuongAttention, hardmax
from jaxrnn.seq2seq.monotonic import (
    BahdanauMonotonicAttention,
    LuongMonotonicAttention,
    monotonic_attention,
    safe_cumprod,
)
from jaxrnn.seq2seq.training import ScheduledEmbeddingTrainingHelper, ScheduledOutputTrainingHelper, TrainingHelper
from jaxrnn.seq2seq.trees import gather_tree, tile_batch

__all__ = [
    "AttentionMechanism",
    "AttentionWrapper",
    "AttentionWrapperState",
    "BahdanauAttention",
    "BahdanauMonotonicAttention",
    "BasicDecoder",
    "BasicDecoderOutput",
    "BeamSearchDecoder",
    "BeamSearchDecoderOutput",
    "BeamSearchDecoderState",
    "CustomHelper",
    "Decoder",
    "Dense",
    "FinalBeamSearchDecoderOutput",
    "GreedyEmbeddingHelper",
    "InferenceHelper",
    "LuongAttention",
    "LuongMonotonicAttention",
    "SampleEmbeddingHelper",
    "ScheduledEmbeddingTrainingHelper",
    "ScheduledOutputTrainingHelper",
    "TrainingHelper",
    "dynamic_decode",
    "gather_tree",
    "hardmax",
    "monotonic_attention",
    "safe_cumprod",
    "sequence_loss",
    "tile_batch",
]
