"""Values everyone shares. Imports nothing of ours, does no I/O, knows no driver."""
