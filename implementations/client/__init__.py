"""A member's client: conversation.py is the pure core, connection.py its socket, console.py puts it on a terminal or in a script, groups.py remembers."""
