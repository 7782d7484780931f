"""Contents: prompts and answers, kept sealed for those who asked for it, and for as long as they may be."""
