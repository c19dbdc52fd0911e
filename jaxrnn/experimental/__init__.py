"""What may change or go: kernels for whole chunks of steps on a GPU."""

from jaxrnn.experimental.persistent import persistent_kernels as persistent_kernels
