"""What the three servers share: the wire, the pure core (Session and Room), outboxes, files."""
