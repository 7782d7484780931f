"""Personal data and secrets: found by checked patterns, replaced on the way out, put back in the answer."""
