"""What most people write: asyncio streams, one write to each member for each event. With --uvloop the same on uvloop."""

import asyncio
import sys

from .talk import Talk

here = set()


class Client(Talk):
    def __init__(self, writer):
        self.writer = writer

    def tell_one(self, data):
        self.writer.write(data)

    def tell_all(self, data):
        for client in here:
            client.writer.write(data)

    def come(self):
        here.add(self)

    def go(self):
        here.discard(self)
        self.writer.close()


async def serve(reader, writer):
    client = Client(writer)
    client.tell_one(b"HELLO grupo/1 bench\n")
    try:
        while line := await reader.readline():
            client.obey(line[:-1])
    except ConnectionError:
        pass
    client.leave()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
