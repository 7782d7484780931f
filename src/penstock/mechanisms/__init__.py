"""Policy over ports: what two slices or more share. Knows no HTTP and no vendor's name."""
