"""Support module of the recformer notebooks; see README.md for the order in which to read it."""
