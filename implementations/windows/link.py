"""A member's Connection that an event loop waits for: the window is called after each turn, and need not ask."""
import asyncio

from ..client.connection import Connection


class Link(Connection):
    def __init__(self, place, addresses, conversation, groups, show):
        """`show()` is called after each turn. Must be made where an event loop runs; its owner calls step() every TICK."""
        super().__init__(place, addresses, conversation, groups)
        self.show = show
        self.loop = asyncio.get_running_loop()
        self.writes = False             # the loop waits until the socket can be written to

    def step(self):
        if self.conversation.state != "over":
            self.connect()
        self.turn()
        self.watch()
        self.show()

    def try_next(self, why):
        super().try_next(why)
        if self.sock:
            self.loop.add_reader(self.sock, self.woken)

    def watch(self):
        _, writes = self.wanted()
        if self.sock and writes != self.writes:
            if writes:
                self.loop.add_writer(self.sock, self.woken)
            else:
                self.loop.remove_writer(self.sock)
            self.writes = writes

    def woken(self):
        if self.sock:                   # not if it went while the other of two calls was on its way
            self.ready()
        self.step()

    def hang_up(self):
        if self.sock:
            self.loop.remove_reader(self.sock)
            self.loop.remove_writer(self.sock)
        self.writes = False
        super().hang_up()
