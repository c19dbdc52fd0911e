"""The cells, one family a file."""
