"""Drivers behind the ports: thin, foreign errors translated by one table. Only wiring imports them."""
