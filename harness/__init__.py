"""The harness: starts any group-chat server by its command line, drives many clients against it, and judges what it does."""
