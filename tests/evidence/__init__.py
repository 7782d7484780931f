"""Evidence: each line of the list runs something real and writes what it saw to docs/evidence/."""
