"""The fault suite: everything a vendor, the network or a caller can do wrong, and what must come of it, as data."""
