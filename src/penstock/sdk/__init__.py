"""The one typed client of a running Penstock; apps, the console and the command line are its users."""
