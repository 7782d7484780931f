"""Models in this machine that turn tokens into vectors."""
