"""One file per noun of the platform: what a `Client` has as attributes."""
