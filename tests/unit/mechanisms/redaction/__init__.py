"""Personal data and secrets: found, taken out, put back."""
