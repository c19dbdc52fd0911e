"""The runners: what takes a cell through time."""
