"""A cashier writes each sale to a file, and is killed in the middle of one. What is left of it?"""

import os
import signal
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "sales")
    cashier = os.fork()
    if cashier == 0:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in range(1, 4):
            os.write(file, b"sale %d: 10 reais\n" % number)
        os.write(file, b"sale 4: 1")
        os.kill(os.getpid(), signal.SIGKILL)  # no cleanup, no warning
    os.waitpid(cashier, 0)
    with open(path, "rb") as file:
        data = file.read()
    end = data.rfind(b"\n") + 1
    print(data[:end].decode(), end="")
    print(f"torn: {data[end:]}")
