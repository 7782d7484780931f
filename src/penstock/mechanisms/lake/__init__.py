"""The lake: every audit record, in files by organisation and day, asked about in SQL."""
