"""Texts to vectors: the queue before the model, what it keeps, and the provider the gateway sees."""
