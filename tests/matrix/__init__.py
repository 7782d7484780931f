"""Who may reach what: every route of the management API, called by every role, about everybody's things."""
