"""What every HTTP face shares: routes with policies, authentication, errors, the bridge for pages."""
