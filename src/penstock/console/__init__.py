"""The console: web pages over the platform. It is a customer like any other and reaches it through the sdk only."""
