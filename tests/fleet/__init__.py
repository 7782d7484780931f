"""Several processes, real engines, and harm done to them. `make fleet` runs short versions, tests/evidence the full."""
