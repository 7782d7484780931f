"""The command line: one thin file per group of commands, over wiring (what starts) and sdk (what manages)."""
