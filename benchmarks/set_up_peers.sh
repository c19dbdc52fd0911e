#!/usr/bin/env bash
# Environments for the peers that the benchmarks compare with: set_up_peers.sh DIRECTORY [PYTHON [PYTHON311]]
# DIRECTORY/jax has the JAX libraries and the newest jax that PYTHON can have, DIRECTORY/torch PyTorch, DIRECTORY/tf1 the last
# TensorFlow with TF1's runners, which needs Python 3.11 or older. What cannot be had is said and left out.
# For a GPU, set_up_peers.sh --gpu DIRECTORY [PYTHON]: DIRECTORY/jax-gpu and DIRECTORY/torch-gpu, both with CUDA 13, for gpu.py.
set -euo pipefail
gpu=
if [[ $1 == --gpu ]]; then gpu=yes; shift; fi
directory=$1 python=${2:-python3} python311=${3:-python3.11}

make() {  # NAME PYTHON PACKAGES...
  local name=$1 with=$2
  shift 2
  "$with" -m venv "$directory/$name" && "$directory/$name/bin/pip" install -qq "$@" || echo "no $name here" >&2
}

mkdir -p "$directory"
if [[ $gpu ]]; then
  make jax-gpu "$python" "jax[cuda13]" flax keras matplotlib
  make torch-gpu "$python" torch numpy
  echo "$directory/jax-gpu/bin/python benchmarks/gpu.py --peers $directory/torch-gpu/bin/python"
  exit
fi
make jax "$python" jax flax dm-haiku equinox keras optax matplotlib
make torch "$python311" torch==2.13.0 numpy
make tf1 "$python311" tensorflow-cpu==2.15.1
echo "python benchmarks/speed.py --peers $directory/jax/bin/python $directory/torch/bin/python $directory/tf1/bin/python"
