"""HTTP/1.1 on the event loop: the server, the pooled client, SSE framing and TLS. It knows bytes, not models."""
