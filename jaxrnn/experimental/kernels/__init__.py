"""Loops inside one kernel: `loop` says what they are, `straight` makes a step fit for one, `triton` compiles it."""
