"""A collection's way from one model to another: built beside the searches, checked, switched, undone."""
