"""Second engines that find personal data in texts."""
