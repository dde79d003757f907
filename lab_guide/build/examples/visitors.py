"""A server that tells each visitor their number. The program plays its visitors, too."""

import socket

listener = socket.create_server(("127.0.0.1", 0))  # port 0: the system chooses a free one
address = listener.getsockname()
visitors = [socket.create_connection(address) for _ in range(3)]  # nobody has accepted them yet

for number in range(1, 4):
    visitor, _ = listener.accept()
    visitor.sendall(f"You are visitor {number}.\n".encode())
    visitor.close()

for visitor in visitors:
    print(visitor.makefile().readline(), end="")
