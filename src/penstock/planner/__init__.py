"""Planning help: what a deployment would need, as arithmetic that can be checked."""
