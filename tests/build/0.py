"""A group-chat server, stage 0: it accepts one client after the other, and greets it."""

import argparse
import socket


def arguments():
    """The flags that every server accepts (protocol.md, section 12)."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7000)
    parser.add_argument("--group", default="grupo")
    parser.add_argument("--dir", default="grupo")
    parser.add_argument("--admit", choices=("ask", "all", "none"), default="ask")
    return parser.parse_args()


def main():
    options = arguments()
    listener = socket.create_server((options.host, options.port))
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    while True:
        client, _ = listener.accept()
        client.sendall(f"HELLO grupo/1 {options.group}\n".encode())
        client.close()


main()
