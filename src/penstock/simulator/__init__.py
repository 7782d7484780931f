"""A provider on the OpenAI wire that misbehaves on order and keeps its own books."""
