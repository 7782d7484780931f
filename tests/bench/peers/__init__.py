"""The targets of the side-by-side bench, one file each."""
