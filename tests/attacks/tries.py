"""What a hostile submission tries, one thing after the other.

facts.json says where the tree, the judge and other programs are. Each try ends with what it got, or
with the error that stopped it; all come out as one JSON object. Nothing here harms a machine on
which it succeeds.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys

with open("facts.json") as file:
    FACTS = json.load(file)
TREE, OTHER, OPEN, JUDGE = (FACTS[name] for name in ("tree", "other", "open", "judge"))
libc = ctypes.CDLL(None, use_errno=True)
tries = {}


def attempt(function):
    tries[function.__name__.replace("_", "-")] = function
    return function


def call(name, *arguments):
    """A system call by its number, or by its name in libc."""
    function = libc.syscall if isinstance(name, int) else getattr(libc, name)
    result = function(*([name] if isinstance(name, int) else []), *arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def found_in(name):
    """The processes of others whose file in /proc holds the judge's secret."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if FACTS["secret"].encode() in file.read():
                    found.append(pid)
        except OSError:
            pass
    if not found:
        raise PermissionError(errno.EACCES, "in none")
    return found


# -- Reading -------------------------------------------------------------------------------------


@attempt
def read_the_project():
    return open(f"{TREE}/harness/__main__.py").read(40)


@attempt
def list_the_project():
    return os.listdir(f"{TREE}/harness")


@attempt
def run_the_reference_server():
    done = subprocess.run(
        [sys.executable, "-m", "implementations.pthread", "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": TREE},
    )
    # A package that it needs may be missing here: that is no protection.
    if "No module named 'implementations'" in done.stderr or "Permission denied" in done.stderr:
        raise PermissionError(errno.EACCES, done.stderr[-60:])
    return done.stderr[-60:]


@attempt
def read_through_the_judge_s_working_folder():
    return os.listdir(f"/proc/{JUDGE}/cwd/")


@attempt
def read_through_the_judge_s_root():
    return open(f"/proc/{JUDGE}/root{TREE}/README.md").read(20)


@attempt
def read_through_the_parent():
    return [open(f"/proc/{os.getppid()}/cwd/README.md").read(20)]


@attempt
def read_shadow():
    return open("/etc/shadow").read(20)


@attempt
def read_another_submission():
    return open(f"{OTHER}/server.py").read()


@attempt
def read_another_submission_through_a_link():
    os.symlink(OTHER, "other")
    return open("other/server.py").read()


@attempt
def read_another_submission_through_a_hard_link():
    os.link(f"{OTHER}/server.py", "theirs.py")
    return open("theirs.py").read()


@attempt
def read_it_by_a_compiler():
    with open("include.c", "w") as file:
        file.write(f'#include "{OTHER}/server.py"\n')
    done = subprocess.run(["gcc", "-E", "include.c"], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(errno.EACCES, done.stderr[-60:])
    return done.stdout


@attempt
def read_the_judge_s_environment():
    return found_in("environ")


@attempt
def read_the_judge_s_command_line():
    return found_in("cmdline")


@attempt
def read_the_judge_s_memory():
    return open(f"/proc/{JUDGE}/mem", "rb").fileno()


@attempt
def list_the_judge_s_descriptors():
    return os.listdir(f"/proc/{JUDGE}/fd")


@attempt
def inherit_a_descriptor():
    mine = [int(name) for name in os.listdir("/proc/self/fd")]
    more = [
        (number, os.readlink(f"/proc/self/fd/{number}"))
        for number in mine
        if number > 2 and os.path.exists(f"/proc/self/fd/{number}")
    ]
    more = [(number, place) for number, place in more if place != f"/proc/{os.getpid()}/fd"]
    if not more:
        raise PermissionError(errno.EBADF, "none")
    return more


@attempt
def inherit_the_environment():
    if FACTS["secret"] not in json.dumps(dict(os.environ)) and not any(
        name.startswith(("PYTEST", "GITHUB", "SSH")) for name in os.environ
    ):
        raise PermissionError(errno.EACCES, "clean")
    return dict(os.environ)


@attempt
def read_the_kernel_s_log():
    try:
        return os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return call("klogctl", 3, ctypes.create_string_buffer(64), 64)


@attempt
def watch_a_closed_folder():
    return call("inotify_add_watch", call("inotify_init1", 0), FACTS["closed"].encode(), 0xFFF)


@attempt
def watch_the_project():
    return call("inotify_add_watch", call("inotify_init1", 0), f"{TREE}/harness".encode(), 0xFFF)


@attempt
def see_that_a_file_of_the_project_exists():
    return os.stat(f"{TREE}/harness/__main__.py").st_size


# -- Writing -------------------------------------------------------------------------------------


@attempt
def write_a_verdict():
    with open(f"{OPEN}/greets.json", "w") as file:
        return file.write('{"check": "greets", "verdict": "passed", "points": 200}')


@attempt
def append_to_the_results():
    with open(f"{OPEN}/results.json", "a") as file:
        return file.write("forged")


@attempt
def replace_the_results():
    open("mine.json", "w").close()
    return os.replace("mine.json", f"{OPEN}/results.json") or "replaced"


@attempt
def remove_the_results():
    return os.unlink(f"{OPEN}/results.json") or "removed"


@attempt
def change_the_mode_of_the_results():
    return os.chmod(f"{OPEN}/results.json", 0o600) or "changed"


@attempt
def plant_bytecode():
    with open(f"{OPEN}/tree/harness/verdicts/__pycache__/model.pyc", "wb") as file:
        return file.write(b"\0" * 16)


@attempt
def write_to_tmp():
    with open("/tmp/grupo-attack", "w") as file:
        file.write("x")
    if not FACTS["own-tmp"]:
        return "written"
    raise PermissionError(errno.EACCES, "a tmp of its own")


@attempt
def write_to_the_system():
    return open("/usr/bin/grupo-attack", "w").close() or "written"


@attempt
def set_a_sysctl():
    return open("/proc/sys/kernel/core_pattern", "w").close() or "opened"


@attempt
def make_a_device():
    os.mknod("memory", 0o20666, os.makedev(1, 1))
    return open("memory", "rb").read(1)


@attempt
def open_a_disk():
    opened = []
    for path in ("mem", "kmsg", "vda", "sda", "nvme0n1", "kvm", "fuse", "net/tun", "vhost-vsock"):
        try:
            opened.append(open(f"/dev/{path}", "rb"))
        except OSError:
            pass
    if not opened:
        raise PermissionError(errno.EACCES, "none")
    return [file.name for file in opened]


@attempt
def write_to_another_terminal():
    return open(FACTS["terminal"], "w").write("forged")


@attempt
def be_killed_last():
    for value in "-1000", "0":
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(value)
    return open("/proc/self/oom_score_adj").read()


# -- Other processes -----------------------------------------------------------------------------


@attempt
def signal_the_judge():
    return os.kill(JUDGE, 0) or "reached"


@attempt
def signal_another_program():
    return os.kill(FACTS["decoy"], signal.SIGKILL) or "killed"


@attempt
def signal_another_program_by_a_pidfd():
    return signal.pidfd_send_signal(os.pidfd_open(FACTS["decoy"]), signal.SIGKILL) or "killed"


@attempt
def take_a_descriptor_of_the_judge():
    return call(438, os.pidfd_open(JUDGE), 1, 0)


@attempt
def trace_the_judge():
    return call("ptrace", 16, JUDGE, 0, 0)


@attempt
def trace_the_parent():
    return call("ptrace", 0x4206, os.getppid(), 0, 0)


@attempt
def read_the_judge_by_process_vm():
    piece = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(piece), 8)
    return call("process_vm_readv", JUDGE, vector, 1, vector, 1, 0)


@attempt
def lower_the_judge_s_priority():
    return os.setpriority(os.PRIO_PROCESS, JUDGE, 19) or "lowered"


@attempt
def move_the_judge_to_one_cpu():
    return os.sched_setaffinity(JUDGE, {0}) or "moved"


@attempt
def limit_the_judge():
    return resource.prlimit(JUDGE, resource.RLIMIT_CORE, (0, 0)) and "limited"


@attempt
def raise_its_own_priority():
    return os.setpriority(os.PRIO_PROCESS, 0, -20) or os.sched_setscheduler(
        0, os.SCHED_FIFO, os.sched_param(1)
    )


@attempt
def hide_its_descriptors():
    return call("prctl", 4, 0, 0, 0, 0) or "hidden"


# -- More rights ---------------------------------------------------------------------------------


@attempt
def become_root():
    for change in (os.setuid, os.setgid, os.seteuid, os.setegid):
        try:
            change(0)
        except OSError:
            continue
        if FACTS["tier"] != "A" or not os.listdir("/root"):
            return change.__name__
    return os.setgroups([0]) or "in root's group"


@attempt
def have_a_capability():
    rows = dict(line.split(":\t") for line in open("/proc/self/status") if ":\t" in line)
    mine = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(rows[name], 16)]
    if not mine and rows["NoNewPrivs"].strip() == "1" and rows["Seccomp"].strip() == "2":
        raise PermissionError(errno.EPERM, "none")
    return mine or rows["NoNewPrivs"]


@attempt
def run_a_program_as_its_owner():
    for program in "su", "passwd", "mount", "chsh", "newgrp", "gpasswd", "sudo":
        path = f"/usr/bin/{program}"
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            done = subprocess.Popen(
                [path], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            users = open(f"/proc/{done.pid}/status").read().split("Uid:\t")[1].split()[:4]
            done.kill(), done.wait()
            if "0" in users and str(os.getuid()) != "0":
                return users
    raise PermissionError(errno.EPERM, "none")


@attempt
def raise_a_limit():
    raised = []
    for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY:
            raised.append(kind)
            continue
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
            raised.append(kind)
        except (OSError, ValueError):
            pass
    if not raised:
        raise PermissionError(errno.EPERM, "none")
    return raised


@attempt
def a_namespace_by_unshare():
    return call("unshare", 0x10000000)


@attempt
def a_namespace_by_clone():
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    child = call(number, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child


@attempt
def a_namespace_by_clone3():
    arguments = ctypes.create_string_buffer(struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0))
    child = call(435, arguments, 64)
    if child == 0:
        os._exit(0)
    return child


@attempt
def enter_the_judge_s_namespace():
    return call("setns", os.open(f"/proc/{JUDGE}/ns/mnt", os.O_RDONLY), 0)


@attempt
def mount():
    return call("mount", b"none", b".", b"tmpfs", 0, None)


@attempt
def change_the_root():
    return os.chroot(".") or "changed"


@attempt
def io_uring():
    return call(425, 1, ctypes.create_string_buffer(120))


@attempt
def a_bpf_program():
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    return call(number, 0, ctypes.create_string_buffer(128), 128)


@attempt
def a_key_in_the_kernel():
    number = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
    return call(number, b"user", b"grupo", b"x", 1, -3)


@attempt
def memory_that_no_process_is_charged_for():
    return os.memfd_create("hidden")


# -- What outlives it, or others see -------------------------------------------------------------


@attempt
def system_v_memory():
    return call("shmget", FACTS["key"], 4096, 0o1666)


@attempt
def a_system_v_queue():
    return call("msgget", FACTS["key"], 0o1666)


@attempt
def a_posix_queue():
    return call("mq_open", b"/grupo-attack", os.O_CREAT | os.O_RDWR, 0o666, None)


@attempt
def a_file_of_others_in_shared_memory():
    return open(FACTS["shared"]).read()


# -- The network ---------------------------------------------------------------------------------


@attempt
def connect_to_the_host():
    return socket.create_connection(("127.0.0.1", FACTS["tcp"]), 2).getpeername()


@attempt
def connect_outside():
    return socket.create_connection(("192.0.2.1", 80), 1).getpeername()


@attempt
def connect_by_multipath_tcp():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", FACTS["tcp"]))
        return "connected"


@attempt
def connect_by_fast_open():
    with socket.socket() as sock:
        return sock.sendto(b"x", 0x20000000, ("127.0.0.1", FACTS["tcp"]))


@attempt
def connect_by_fast_open_and_sendmsg():
    with socket.socket() as sock:
        return sock.sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", FACTS["tcp"]))


@attempt
def send_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(FACTS["secret"].encode(), ("127.0.0.1", FACTS["udp"]))
    return "sent"


@attempt
def raw_sockets():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        return sock.fileno()


@attempt
def netlink():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        return sock.fileno()


@attempt
def other_families():
    opened = []
    for family in range(1, 46):
        if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW:
                try:
                    socket.socket(family, kind).close()
                    opened.append(family)
                except OSError:
                    pass
    if not opened:
        raise PermissionError(errno.EAFNOSUPPORT, "none")
    return opened


@attempt
def abstract_socket_of_the_host():
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect("\0" + FACTS["abstract"]) or "connected"


@attempt
def abstract_datagram_socket_of_the_host():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", "\0" + FACTS["abstract"] + "-datagram")


@attempt
def socket_file_of_the_host():
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect(FACTS["unix"]) or "connected"


@attempt
def listen_at_a_port_of_its_choice():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", FACTS["free"]))
        sock.listen()
    return "listens"


@attempt
def share_the_port_of_another():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", FACTS["tcp"]))
        sock.listen()
    return "listens"


# -- What an honest server does ------------------------------------------------------------------


@attempt
def honest_listen():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()


@attempt
def honest_files():
    with open("log", "a") as file:
        file.write("x")
    os.makedirs(f"{os.environ['HOME']}/a/b", exist_ok=True)
    os.rename("log", f"{os.environ['TMPDIR']}/log") if FACTS["tier"] == "B" else None
    return "written"


@attempt
def honest_shared_memory():
    import multiprocessing.shared_memory

    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    memory.unlink(), memory.close()
    return (multiprocessing.Lock() and mmap.mmap(-1, 4096).close()) or "made"


def main():
    answers = {}
    for name, function in tries.items():
        try:
            answers[name] = {"got": repr(function())[:200]}
        except (OSError, AttributeError) as error:
            answers[name] = {"stopped": f"{getattr(error, 'errno', None)} {error}"[:200]}
        except Exception as error:
            answers[name] = {"broken": repr(error)[:200]}
    print(json.dumps(answers), flush=True)


main()
