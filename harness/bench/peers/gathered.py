"""uvloop's Protocol with gathered writes: one write to each member for all events of a turn."""

import asyncio

import uvloop

from .talk import Talk

here: set["Client"] = set()
events: list[bytes] = []  # of this turn


class Client(Talk, asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Greet the client."""
        self.transport = transport
        self.mark = 0  # so many of this turn's events were sent to it, or came before its JOIN
        self.tell_one(b"HELLO grupo/1 bench\n")

    def data_received(self, data: bytes) -> None:
        """Handle a piece of the client's bytes."""
        self.receive(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Handle the end of the connection."""
        self.leave()

    def tell_one(self, data: bytes) -> None:
        """Send bytes to this client alone, after the events before them."""
        own = events[self.mark :] if self in here else []
        self.mark = len(events)
        self.transport.write(b"".join([*own, data]))

    def tell_all(self, data: bytes) -> None:
        """Keep an event for all members until the end of the turn."""
        if not events:
            asyncio.get_running_loop().call_soon(end_turn)
        events.append(data)

    def come(self) -> None:
        """Make this client a member that is here."""
        here.add(self)

    def go(self) -> None:
        """End the connection."""
        here.discard(self)
        self.transport.close()


def end_turn() -> None:
    """Send the turn's events to each member, in one write."""
    chunk = b"".join(events)
    for client in here:
        client.transport.write(b"".join(events[client.mark :]) if client.mark else chunk)
        client.mark = 0
    events.clear()


async def main() -> None:
    """Serve on a free port, and print it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Client, "127.0.0.1", 0, backlog=1024)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
