"""The engine: how a cell runs K steps, and how these are differentiated. Private; the runners call it.

A step of a cell in four functions, with z = project(x) and r = recur(s):

    g = gates(z, r, s)        output, s' = combine(g, s)

The derivative is one pair of functions, the forward and the backward pass of a chunk of K steps. Two drivers run chunks:

    runners/loop.py
       |                                        |
    inplace.py   "save" and "recompute":     scanned.py   policies, offload, "recursive", host memory, explicit axes:
       |         into arrays in place           |         a scan of checkpointed chunks
    layout.py    tiles of rows, chunks       chunk.py     a chunk of any cell
       |         of steps (order.py: the        |
       |         longest rows first)            |
       +-------------------+--------------------+
                           |
                     derivative.py   forward and backward: the equations
                     residuals.py    what a step keeps: its gates or its state; each gives the other
                     masking.py      padding, resets, state dropout: `restart`, `enter` and `leave` a step
                     first.py        what a cell is called with in the padding
                     step.py         one step of the four functions

Linear recurrences (`jaxrnn.LinearCell`), where their steps are not run in turn:

    at_once.py       a chunk whose steps are joined; padding, resets and dropout as coefficients
    recurrence.py    h_t = a_t h_{t-1} + b_t in three engines, with one derivative
    over_devices.py  the same, its steps split over devices

Parallel over time, in the place of a chunk's loop:

    newton.py        the K states of any cell in four functions, and their adjoint, as one system of equations
    fixed_point.py   the iterations that solve it

Who decides:

    facts.py         what tracing a step shows: can its functions be run apart, has everything rows
    tuning.py        what is fastest, by platform, devices, JAX's version and sizes; asked when a run is traced
    rewrites.py      tunings that are cells: four functions made of four functions

Tools: `autodiff.py` (a function with a backward pass of its own), `linear.py` (JAX's primitive for it), `jaxpr_queries.py` (the
engine's only file that reads jaxprs).

What changes where: a memory mode in `jaxrnn/memory/modes.py`; a rule of speed in `tuning.py`, with its figures; how a step is
differentiated in `derivative.py` alone.
"""
