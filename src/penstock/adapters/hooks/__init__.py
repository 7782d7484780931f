"""What posts to webhooks: `https`."""
