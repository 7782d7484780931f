"""A provider on three wires that misbehaves on order and keeps its own books."""
