"""One loop sends a long report to a printer, and is the printer. No call in it may wait."""

import selectors
import socket

LENGTH = 5_000_000  # bytes, more than the kernel holds between the two

report = bytearray(b"." * LENGTH)
sender, printer = socket.socketpair()
sender.setblocking(False)
printer.setblocking(False)
selector = selectors.DefaultSelector()
selector.register(sender, selectors.EVENT_WRITE)
selector.register(printer, selectors.EVENT_READ)

sends = printed = 0
while printed < LENGTH:
    for key, _ in selector.select():  # waits until at least one is ready
        if key.fileobj is printer:
            printed += len(printer.recv(65536))
        else:
            sends += 1
            accepted = sender.send(report)  # perhaps not all of it
            del report[:accepted]
            if not report:
                selector.unregister(sender)  # it is always ready, and the loop would spin

print(f"{printed} bytes printed; one send was enough: {sends == 1}")
