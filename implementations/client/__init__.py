"""A member's client: conversation.py is the pure core, console.py puts it on a terminal or in a script, groups.py remembers."""
