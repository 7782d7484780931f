"""Development scripts: what builds the data that ships with the package."""
