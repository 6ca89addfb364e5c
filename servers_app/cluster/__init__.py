"""What nodes do for each other: see that one is lost, and take over its servers."""
