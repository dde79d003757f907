"""asyncio streams, one write to each member for each event, as most people write it.

With --uvloop, the same on uvloop.
"""

import asyncio
import contextlib
import sys

from .talk import Talk

here: set["Client"] = set()


class Client(Talk):
    """One connection, written to through its StreamWriter."""

    def __init__(self, writer: asyncio.StreamWriter):
        self.writer = writer

    def tell_one(self, data: bytes) -> None:
        """Send bytes to this client alone."""
        self.writer.write(data)

    def tell_all(self, data: bytes) -> None:
        """Send an event to all members."""
        for client in here:
            client.writer.write(data)

    def come(self) -> None:
        """Make this client a member that is here."""
        here.add(self)

    def go(self) -> None:
        """End the connection."""
        here.discard(self)
        self.writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client up to the end of its connection."""
    client = Client(writer)
    client.tell_one(b"HELLO grupo/1 bench\n")
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            client.obey(line[:-1])
    client.leave()
    writer.close()


async def main() -> None:
    """Serve on a free port, and print it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
