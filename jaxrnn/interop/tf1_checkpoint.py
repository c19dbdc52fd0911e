"""Variables out of a TF1 checkpoint, through TensorFlow where it is installed."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Set
from typing import Any


def read_tf1_checkpoint(path: str | os.PathLike[str], scope: str = "") -> dict[str, Any]:
    """The variables of a TF1 checkpoint, as `from_tf1` takes them.

    An optimiser's slots, which are named after their variable (`kernel/Adam`, `kernel/Momentum`), are left out.

    Args:
      path: what `tf.train.Saver.save` was given (with the step that it put behind, "model.ckpt-1000"), or a directory, for its
        latest checkpoint.
      scope: only variables under this scope, which stays part of their names: "rnn" for what `dynamic_rnn` made,
        "model/encoder/rnn", "rnn/multi_rnn_cell/cell_0". Empty is every variable.

    Returns:
      `{name: numpy array}`, sorted by name.

    Raises:
      ImportError: if TensorFlow is not installed. It need not be where jaxrnn is: there, save the dict with
        `numpy.savez(file, **variables)`; here, `numpy.load(file)` gives it to `from_tf1`.
      ValueError: if the checkpoint has no variable under the scope, or was made by TF2's `tf.train.Checkpoint`, which stores
        objects, not names.

    Example:
      variables = jaxrnn.interop.read_tf1_checkpoint("model.ckpt", scope="rnn")
      params = jaxrnn.interop.from_tf1(jaxrnn.LSTMCell(128), variables)
    """
    reader = _open(os.fspath(path))
    names = reader.get_variable_to_shape_map().keys()
    if any(name.endswith(".ATTRIBUTES/VARIABLE_VALUE") for name in names):
        raise ValueError(
            f"read_tf1_checkpoint: expected a checkpoint of tf.compat.v1.train.Saver, got one of tf.train.Checkpoint in "
            f"{path}, which stores objects, not variables by name. Load it where it was made and pass layer.get_weights() to "
            "from_keras."
        )
    scope = f"{scope.strip('/')}/" if scope else ""
    chosen = [name for name in sorted(names) if name.startswith(scope) and not _is_slot(name, names)]
    if not chosen:
        raise ValueError(
            f"read_tf1_checkpoint: expected variables under {scope!r} in {path}, which has "
            f"{', '.join(map(repr, sorted(names)[:8]))}{', ...' if len(names) > 8 else ''}."
        )
    return {name: reader.get_tensor(name) for name in chosen}


def _open(path: str) -> Any:
    try:
        import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ImportError as error:
        raise ImportError(
            "read_tf1_checkpoint: expected TensorFlow, which reads its checkpoints, to be installed. Where it is, save the "
            "variables with numpy.savez(file, **variables); numpy.load(file) then gives from_tf1 what it takes."
        ) from error
    return tf.train.load_checkpoint(path)


def _is_slot(name: str, names: Set[str]) -> bool:
    """Whether a variable's name goes on from another's: `kernel/Adam_1` from `kernel`."""
    return any(str(scope) in names for scope in pathlib.PurePosixPath(name).parents)
