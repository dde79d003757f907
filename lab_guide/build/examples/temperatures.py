"""Temperatures, each of four bytes, arrive through a socket in pieces of another size."""

import socket
import struct

ours, theirs = socket.socketpair()
theirs.sendall(struct.pack("!4i", 21, -3, 17, 8))
theirs.close()

held = b""  # the beginning of a temperature whose end has not come yet
while data := ours.recv(6):
    held += data
    print(f"recv: {len(data)} bytes, held: {len(held)}")
    while len(held) >= 4:
        print("  temperature:", *struct.unpack("!i", held[:4]))
        held = held[4:]
print("recv: b'', the end of file")
