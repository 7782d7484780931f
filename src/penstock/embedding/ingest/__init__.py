"""Documents on their way in and out: bytes to pieces, pieces to rows, and what became of each."""
