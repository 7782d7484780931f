"""The AI gateway: every team's door to every model."""
