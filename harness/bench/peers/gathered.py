"""uvloop's Protocol, with a turn's events gathered: one write to each member for all that the turn brought."""

import asyncio

import uvloop

from .talk import Talk

here = set()
events = []  # of this turn


class Client(Talk, asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.mark = 0  # so many of this turn's events he was given already
        self.tell_one(b"HELLO grupo/1 bench\n")

    def data_received(self, data):
        self.receive(data)

    def connection_lost(self, _):
        self.leave()

    def tell_one(self, data):
        own = events[self.mark :] if self in here else []
        self.mark = len(events)
        self.transport.write(b"".join([*own, data]))

    def tell_all(self, data):
        if not events:
            asyncio.get_running_loop().call_soon(end_turn)
        events.append(data)

    def come(self):
        here.add(self)

    def go(self):
        here.discard(self)
        self.transport.close()


def end_turn():
    chunk = b"".join(events)
    for client in here:
        client.transport.write(b"".join(events[client.mark :]) if client.mark else chunk)
        client.mark = 0
    events.clear()


async def main():
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", 0, backlog=1024)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
