"""The filter of system calls: what it denies, on both architectures, and what runs under it."""

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.grading import seccomp

HEADERS = {
    "x86_64": ("asm/unistd_64.h", 0),
    "aarch64": ("asm-generic/unistd.h", 1),
}
TABLES = {**seccomp.DENIED, **seccomp.ABSENT, **seccomp.WITH_ARGUMENTS}
KILLED, ALLOWED = "killed", 0


def answer(code, architecture, number, *arguments):
    """What the kernel would do with a call: this interprets the filter as it does."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    program, place, value = list(struct.iter_unpack("=HBBI", code)), 0, 0
    while True:
        operation, if_true, if_false, k = program[place]
        place += 1
        if operation == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", data, k)
        elif operation == seccomp.AND:
            value &= k
        elif operation == seccomp.RETURN:
            action = k & 0xFFFF0000
            return {seccomp.KILL: KILLED, seccomp.ALLOW: ALLOWED}.get(action, k & 0xFFFF)
        else:
            is_true = {
                seccomp.EQUAL: value == k,
                seccomp.AT_LEAST: value >= k,
                seccomp.ANY_BIT: bool(value & k),
            }[operation]
            place += if_true if is_true else if_false


@pytest.fixture(params=HEADERS)
def machine(request):
    return request.param


def test_the_numbers_are_those_of_the_kernel_s_headers(machine):
    header, column = HEADERS[machine]
    wanted = {name: numbers[column] for name, numbers in TABLES.items() if numbers[column]}
    # Headers that are older than the newest calls do not name these.
    text = f"#define __BITS_PER_LONG 64\n#define __ARCH_WANT_SYS_CLONE3\n#include <{header}>\n"
    text += "".join(f"#ifdef __NR_{name}\n= {name} __NR_{name}\n#endif\n" for name in wanted)
    need("gcc")
    done = subprocess.run(
        ["gcc", "-E", "-P", "-"], input=text, capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in done.stdout.splitlines() if line.startswith("= "))
    found = {name: int(number) for _, name, number in rows}
    assert len(found) > 70 and found == {name: wanted[name] for name in found}


def test_each_call_gets_its_answer(machine):
    architecture, column = seccomp.MACHINES[machine]
    code = seccomp.program(machine=machine)
    for calls, error in (seccomp.DENIED, errno.EPERM), (seccomp.ABSENT, errno.ENOSYS):
        for name, numbers in calls.items():
            if numbers[column] is not None:
                assert answer(code, architecture, numbers[column]) == error, name
    read, write = {"x86_64": (0, 1), "aarch64": (63, 64)}[machine]
    assert [answer(code, architecture, number) for number in (read, write)] == [ALLOWED] * 2
    assert answer(code, architecture, seccomp.NEWEST + 1) == errno.ENOSYS
    others = {"i386": 0x40000003, "arm": 0x40000028, "riscv": 0xC00000F3}
    assert {answer(code, other, read) for other in others.values()} == {KILLED}
    x32 = answer(code, architecture, seccomp.X32 + 101)
    assert x32 == (KILLED if machine == "x86_64" else errno.ENOSYS)


@pytest.mark.parametrize(
    "name, arguments, plain, tcp_only",
    [
        ("clone", [0x11], ALLOWED, ALLOWED),
        ("clone", [0x10000011], errno.EPERM, errno.EPERM),
        ("clone", [0x20000], errno.EPERM, errno.EPERM),
        ("clone", [0x3D0F00], ALLOWED, ALLOWED),  # a thread, as glibc makes it
        ("ioctl", [0, 0x5412], errno.EPERM, errno.EPERM),
        ("ioctl", [0, 0x5412 | 1 << 32], errno.EPERM, errno.EPERM),
        ("ioctl", [0, 0x5413], ALLOWED, ALLOWED),
        ("prctl", [4, 0], errno.EPERM, errno.EPERM),
        ("prctl", [15], ALLOWED, ALLOWED),
        ("socket", [1, 5 | 0x800], ALLOWED, ALLOWED),
        ("socket", [2, 1 | 0x80800, 6], ALLOWED, ALLOWED),
        ("socket", [10, 1], ALLOWED, ALLOWED),
        ("socket", [2, 2], ALLOWED, errno.EACCES),
        ("socket", [2, 3, 1], ALLOWED, errno.EACCES),
        ("socket", [2, 1, 262], ALLOWED, errno.EPROTONOSUPPORT),  # Multipath TCP
        ("socket", [10, 1, 132], ALLOWED, errno.EPROTONOSUPPORT),  # SCTP
        ("socket", [16, 3], errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),
        ("socket", [2 | 1 << 32, 1], ALLOWED, ALLOWED),
        ("socketpair", [1, 1], ALLOWED, ALLOWED),
        ("socketpair", [30, 1], errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),
        ("sendto", [3, 0, 0, 0x20000000], ALLOWED, errno.EOPNOTSUPP),
        ("sendto", [3, 0, 0, 0x4000], ALLOWED, ALLOWED),
        ("sendmsg", [3, 0, 0x20004000], ALLOWED, errno.EOPNOTSUPP),
        ("sendmmsg", [3, 0, 1, 0x20000000], ALLOWED, errno.EOPNOTSUPP),
    ],
)
def test_some_calls_are_denied_by_their_arguments(machine, name, arguments, plain, tcp_only):
    architecture, column = seccomp.MACHINES[machine]
    number = seccomp.WITH_ARGUMENTS[name][column]
    for only, expected in (False, plain), (True, tcp_only):
        code = seccomp.program(tcp_only=only, machine=machine)
        assert answer(code, architecture, number, *arguments) == expected


def test_another_machine_is_refused_in_one_line():
    with pytest.raises(seccomp.NoFilter, match="x86-64 and 64-bit ARM only"):
        seccomp.program(machine="riscv64")


CONFINED = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading
sys.path.insert(0, os.getcwd())
from harness.grading import seccomp
libc = ctypes.CDLL(None, use_errno=True)
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
load = seccomp.Loader(seccomp.program(tcp_only=True))
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
load()
"""


def confined(script, *, cwd=ROOT, **popen):
    """Run a script, as another user than root, under the filter."""
    script = textwrap.dedent(CONFINED) + textwrap.dedent(script)
    return subprocess.run(
        [shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable, "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env=seccomp.environment({"PATH": os.environ["PATH"]}),
        **popen,
    )


def test_the_kernel_does_the_same(tmp_path):
    """Each call that is denied, with arguments that are no use."""
    column = seccomp.MACHINES[os.uname().machine][1]
    numbers = {
        name: numbers[column]
        for name, numbers in {**seccomp.DENIED, **seccomp.ABSENT}.items()
        if numbers[column] is not None
    }
    script = f"""
    for name, number in {numbers!r}.items():
        assert libc.syscall(number, 0, 0, 0, 0, 0, 0) == -1
        print(name, errno.errorcode[ctypes.get_errno()])
    """
    done = confined(script)
    answers = dict(line.split() for line in done.stdout.splitlines())
    expected = dict.fromkeys(seccomp.DENIED, "EPERM") | dict.fromkeys(seccomp.ABSENT, "ENOSYS")
    assert answers == {name: expected[name] for name in numbers}, done.stderr


def test_a_call_of_another_table_kills():
    if os.uname().machine == "x86_64":
        done = confined("libc.syscall(0x40000000 + 39)")
        assert done.returncode == -31 or done.returncode == 225, done  # SIGSYS


def test_python_s_ordinary_means_work():
    script = """
    import asyncio, concurrent.futures, multiprocessing, select, tempfile
    def child(lock, queue):
        with lock:
            queue.send("child")
    async def talk():
        async def reply(reader, writer):
            writer.write(await reader.readline()), writer.close()
        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        return (await reader.readline()).decode().strip()
    if __name__ == "__main__":
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=child, args=(multiprocessing.Lock(), there))
        process.start(), process.join()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            total = sum(pool.map(int, range(10)))
        shown = subprocess.run(["sh", "-c", "echo shell"], capture_output=True, text=True).stdout.strip()
        addresses = socket.getaddrinfo("localhost", 80)
        print(json.dumps([here.recv(), total, shown, asyncio.run(talk()), bool(addresses)]))
    """
    done = confined(script)
    assert done.stdout and json.loads(done.stdout) == ["child", 45, "shell", "hello", True], done


C = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static void *say(void *what) { return what; }
int main(void) {
    pthread_t thread; void *said; int status;
    if (fork() == 0) _exit(7);
    wait(&status);
    pthread_create(&thread, 0, say, "thread"); pthread_join(thread, &said);
    printf("%d %s\n", WEXITSTATUS(status), (char *)said);
}
"""
JAVA = """
import java.net.*;
public class T { public static void main(String[] a) throws Exception {
    try (ServerSocket s = new ServerSocket(0, 5, InetAddress.getByName("127.0.0.1"))) {
        Thread t = new Thread(() -> { try { s.accept().getOutputStream().write(65); } catch (Exception e) {} });
        t.start();
        System.out.println(new Socket("127.0.0.1", s.getLocalPort()).getInputStream().read());
        t.join(); } } }
"""
NODE = """
const net = require('net');
const s = net.createServer(c => c.end('hello')).listen(0, '127.0.0.1', () =>
    net.connect(s.address().port, '127.0.0.1').on('data', d => { console.log(String(d)); s.close(); }));
"""


@pytest.fixture
def open_folder():
    """A folder that every user of the machine can write; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.mark.long
@pytest.mark.parametrize(
    "program, file, text, command, shown",
    [
        ("gcc", "t.c", C, "gcc -pthread -o t t.c && ./t", "7 thread"),
        ("gcc", "t.c", C, "gcc -fsanitize=thread -o t t.c && ./t", "7 thread"),
        ("gcc", "t.c", C, "gcc -fsanitize=address -o t t.c && ./t", "7 thread"),
        ("node", "t.js", NODE, "node t.js", "hello"),
        ("java", "T.java", JAVA, "java -Xmx64m T.java", "65"),
    ],
)
def test_other_languages_run_under_it(open_folder, program, file, text, command, shown):
    need(program)
    (open_folder / file).write_text(text)
    (open_folder / file).chmod(0o666)
    script = f"""
    os.chdir({str(open_folder)!r})
    os.environ["TMPDIR"] = {str(open_folder)!r}
    sys.exit(subprocess.run(["sh", "-c", {command!r}]).returncode)
    """
    done = confined(script)
    assert (done.stdout.strip(), done.returncode) == (shown, 0), done
