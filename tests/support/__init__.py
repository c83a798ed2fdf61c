"""What only supports tests: servers, crashes, soak."""
