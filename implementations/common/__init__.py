"""What the three servers share: everything but how they read, and what stands between Session and Room."""
