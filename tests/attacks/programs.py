"""Hostile programs that need time, processes or memory: `python programs.py NAME`."""

import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import termios
import time

MEGABYTE = 1 << 20
with open("facts.json") as file:
    FACTS = json.load(file)


def daemons():
    """Leave the session, twice, deaf to all signals; one stops itself."""
    for number in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            for descriptor in 0, 1, 2:
                os.close(descriptor)
            for signum in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
                signal.signal(signum, signal.SIG_IGN)
            if number == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(600)
    time.sleep(0.2)  # until they have left


def daemons_and_stay():
    daemons()
    time.sleep(600)


def fork_bomb(leave=lambda: None):
    """Twice as many each time, up to what the kernel allows; then more as soon as one ends."""
    signal.alarm(60)
    while True:
        try:
            if os.fork() == 0:
                leave()
                signal.alarm(60)
        except OSError:
            time.sleep(0.2)  # at the limit: to spin there would only keep the machine busy


def fork_bomb_of_sessions():
    """The same, each in a session of its own."""
    fork_bomb(os.setsid)


def relay():
    """Never the same process for long: each starts the next one and ends."""
    signal.alarm(60)
    for descriptor in 0, 1, 2:
        os.close(descriptor)
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
        signal.alarm(60)


def stop_all():
    """Stop and kill all that can be seen, and all ancestors."""
    for signum in signal.SIGSTOP, signal.SIGKILL:
        for pid in [FACTS["judge"], FACTS["parent"], os.getppid()]:
            try:
                os.kill(pid, signum)
            except OSError:
                pass
    if os.fork() == 0:
        os.kill(-1, signal.SIGKILL)
    time.sleep(600)


def memory():
    taken = []
    while True:
        taken.append(bytearray(16 * MEGABYTE))


def memory_of_many():
    """Each of them little, all of them much."""
    for _ in range(40):
        if os.fork() == 0:
            taken = os.urandom(40 * MEGABYTE)
            time.sleep(600)
            return taken
    time.sleep(600)


def shared_memory():
    """In files that are removed, and not mapped."""
    opened = []
    for number in range(100):
        place = f"/dev/shm/grupo-{os.getpid()}-{number}"
        opened.append(open(place, "wb", 0))
        os.unlink(place)
        for _ in range(60):
            opened[-1].write(bytes(MEGABYTE))
    time.sleep(600)


def socket_buffers():
    """Memory of the kernel: what waits in the buffers of sockets."""
    pairs = []
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    for _ in range(40):
        if os.fork() == 0:
            break
    try:
        while True:
            pairs.append(socket.socketpair())
            for one in pairs[-1]:
                one.setblocking(False)
                try:
                    while one.send(bytes(65536)):
                        pass
                except BlockingIOError:
                    pass
    except OSError:
        time.sleep(600)


def disk():
    for number in range(1000):
        with open(f"{os.environ['HOME']}/{number}", "wb") as file:
            for _ in range(60):
                file.write(bytes(MEGABYTE))
    time.sleep(600)


def disk_without_names():
    opened = []
    for _ in range(1000):
        opened.append(open("file", "wb", 0))
        os.unlink("file")
        for _ in range(60):
            opened[-1].write(bytes(MEGABYTE))
    time.sleep(600)


def many_files():
    number = 0
    while True:
        try:
            os.mkdir(f"{os.environ['HOME']}/{number}")
            number += 1
        except OSError:
            time.sleep(0.1)


def one_big_file():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("big", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 33)


def type_into_the_terminal():
    """What is typed would be run by the shell of the one who started it."""
    for descriptor in 0, 1, 2:
        try:
            fcntl.ioctl(descriptor, termios.TIOCSTI, b"x")
            print("typed")
        except OSError as error:
            print("stopped", error.errno)
    try:
        with open("/dev/tty", "r+b", 0) as terminal:
            print("terminal", os.isatty(terminal.fileno()))
            fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
            print("typed")
    except OSError as error:
        print("stopped", error.errno)


def again_in_a_clean_environment():
    """It sheds what was put into its environment, and goes on as another program."""
    if "AGAIN" not in os.environ:
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], {"AGAIN": "1"})
    for path in FACTS["other"], f"{FACTS['tree']}/harness":
        try:
            print(os.listdir(path))
        except OSError as error:
            print("stopped", error.errno)


def another_program():
    """By the dynamic linker, and from memory: no exec of a file that is known."""
    linker = "/lib64/ld-linux-x86-64.so.2"
    done = subprocess.run([linker, "/bin/cat", "/etc/shadow"], capture_output=True, text=True)
    print(done.returncode, "root:" in done.stdout)


def unreadable():
    """A program that its user cannot read hides its descriptors from that user."""
    with open(sys.executable, "rb") as file, open("copy", "wb") as copy:
        copy.write(file.read())
    os.chmod("copy", 0o111)
    os.execv("copy", ["copy", "-c", "import time; time.sleep(600)"])


globals()[sys.argv[1]]()
