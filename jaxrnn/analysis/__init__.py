"""What a cell does as a dynamical system, measured on data."""

from jaxrnn.analysis.exponents import lyapunov

__all__ = ["lyapunov"]
