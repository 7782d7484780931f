"""What the platform needs from the outside: one Protocol a page, with numbered promises."""
