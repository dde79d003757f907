"""Machines that are not like ours: folders of other users, file systems that lack something, a
stdout that takes nothing, addresses with a zone.
"""

import errno
import grp
import os
import pwd
import re
import stat
import struct
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
from conftest import OPEN, lacks, need

from harness.driving import compiled as programs
from harness.driving import deadlines
from harness.driving.compiled import NotCompiled, compiled
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT, command_line, command_of, start_refused
from implementations.client.groups import GroupsFile, Membership
from implementations.common.errors import StartupError
from implementations.common.files import Folder
from implementations.common.private_files import open_folder

OTHER = 60001  # a user and a group that nobody has
ACL = "system.posix_acl_access"
UNUSED = 0xFFFFFFFF  # the id of an entry of an ACL that names nobody
ONE_DESIGN = pytest.mark.parametrize("design", ["fork"])  # where all three run the same code
LINK_LOCAL = 'ip link set lo up && ip address add fe80::1/64 dev lo nodad && exec "$@"'


def give_away(path, user=OTHER, group=OTHER):
    """Another user or group becomes the owner of `path`, which remains readable."""
    sudo = ["sudo", "--non-interactive"] if os.geteuid() else []
    try:
        subprocess.run([*sudo, "chown", f"{user}:{group}", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        lacks("needs another user: root, or sudo without a password")


def one_line(result):
    """The line on stderr of a server that refused to start."""
    status, out, err = result
    assert (status, out) == (1, "") and re.fullmatch(r"grupo: .+\n", err), (status, out, err)
    return err


# -- Folders ---------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path):
    """A folder of mode 0700, and a file outside that its `transcript` is linked to."""
    (tmp_path / "profile").write_text("")
    (tmp_path / "group").mkdir(0o700)
    (tmp_path / "group/transcript").symlink_to(tmp_path / "profile")
    return tmp_path / "group"


def open_to_all(folder):
    folder.chmod(0o777)


def of_another_user(folder):
    folder.chmod(0o755)
    give_away(folder)


def of_another_group(folder):
    folder.chmod(0o775)
    give_away(folder, user=os.geteuid())


def by_an_acl(folder):
    entries = (1, 7, UNUSED), (2, 7, OTHER), (4, 0, UNUSED), (16, 7, UNUSED), (32, 0, UNUSED)
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, ACL, struct.pack("<I", 2) + packed)
    except OSError:
        lacks("the file system of the temporary folder has no ACLs")


@pytest.mark.parametrize("control", [open_to_all, of_another_user])
def test_a_folder_that_others_control_is_refused(planted, design, control):
    control(planted)
    line = one_line(start_refused(design, directory=planted))
    assert str(planted) in line and "folder" in line and "user" in line
    assert (planted.parent / "profile").read_text() == "", "written through a link"
    assert os.listdir(planted) == ["transcript"]


@pytest.mark.parametrize("control", [open_to_all, of_another_user, of_another_group, by_an_acl])
def test_who_can_write_to_a_folder(tmp_path, control):
    (tmp_path / "group").mkdir(0o700)
    control(tmp_path / "group")
    with pytest.raises(StartupError, match=r"another user|other users"):
        open_folder(str(tmp_path / "group"))
    assert os.listdir(tmp_path / "group") == []


def test_a_folder_of_ones_own_group_is_ones_own(tmp_path, monkeypatch):
    """Where umask is 002, `mkdir` makes such a folder, and the group has no other member."""
    user, members = pwd.getpwuid(os.geteuid()), []
    group = SimpleNamespace(gr_name=user.pw_name, gr_mem=members)
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    os.chown(tmp_path, -1, user.pw_gid)
    tmp_path.chmod(0o775)
    os.close(open_folder(str(tmp_path)))
    members.append("ana")
    with pytest.raises(StartupError, match="other users"):
        open_folder(str(tmp_path))


@ONE_DESIGN
def test_a_link_to_ones_own_folder_is_fine(server, enter, tmp_path):
    (tmp_path / "disk").mkdir(0o755)
    (tmp_path / "group").symlink_to("disk")
    enter(server(*OPEN, directory=tmp_path / "group"), "ana")
    assert (tmp_path / "disk/transcript").exists()


@pytest.mark.parametrize("name", ["transcript", "members", "lock"])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "of another user"])
def test_only_files_of_ones_own_are_opened(tmp_path, name, kind):
    place = tmp_path / "group" / name
    place.parent.mkdir(0o700)
    (tmp_path / "outside").write_text("")
    match kind:
        case "link":
            place.symlink_to(tmp_path / "outside")
        case "dangling":
            place.symlink_to(tmp_path / "new")
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case _:
            place.write_text("")
            place.chmod(0o666)
            give_away(place)
    with pytest.raises((StartupError, IsADirectoryError)) as refused:
        Folder(tmp_path / "group").members()
    assert str(place) in str(refused.value)
    assert (tmp_path / "outside").read_text() == "" and not (tmp_path / "new").exists()


def test_other_users_cannot_read_a_copy_that_was_put_back(tmp_path):
    folder = tmp_path / "group"
    folder.mkdir(0o755)
    for name in "transcript", "members":
        (folder / name).write_text("")
        (folder / name).chmod(0o644)
    Folder(folder).members()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"transcript": 0o600, "members": 0o600, "lock": 0o600}


@ONE_DESIGN
def test_a_file_in_the_way_is_named_with_its_path(design, tmp_path):
    for name in "members.new", "deleted":
        place = tmp_path / name
        place.mkdir()
        assert str(place) in one_line(start_refused(design, directory=tmp_path))
        place.rmdir()


@ONE_DESIGN
@pytest.mark.parametrize("name", ["transcript", "members"])
def test_a_file_that_no_memory_could_hold_is_refused(design, name, tmp_path):
    (tmp_path / name).touch(0o600)
    os.truncate(tmp_path / name, 1 << 40)  # sparse: it needs no room on the disk
    assert str(tmp_path / name) in one_line(start_refused(design, directory=tmp_path))


def test_a_new_member_file_is_not_written_through_a_link(server, enter, tmp_path):
    (tmp_path / "outside").write_text("mine")
    running = server(*OPEN)
    (running.directory / "members.new").symlink_to(tmp_path / "outside")
    enter(running, "ana")
    assert (tmp_path / "outside").read_text() == "mine"
    assert stat.S_ISREG((running.directory / "members").lstat().st_mode)


@ONE_DESIGN
def test_a_trace_is_not_written_where_others_can_write(design, tmp_path):
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace").chmod(0o777)
    options = ("--trace", tmp_path / "trace")
    line = one_line(start_refused(design, directory=tmp_path / "group", args=options))
    assert str(tmp_path / "trace") in line
    assert os.listdir(tmp_path / "trace") == [] and not (tmp_path / "group").exists()


def test_the_windows_keep_their_groups_in_a_folder_of_ones_own(tmp_path):
    """All users know its name."""
    folder = tmp_path / f"grupo-windows-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    command = [sys.executable, "-m", "implementations.windows"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert str(folder) in one_line((ended.returncode, ended.stdout, ended.stderr))


@pytest.mark.parametrize("suffix", [".new", ".lock"])
def test_the_groups_file_is_not_written_through_a_link(tmp_path, suffix):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / f"groups{suffix}").symlink_to("outside")
    with pytest.raises(OSError, match="symbolic links"):
        GroupsFile(tmp_path / "groups").save(Membership("[::1]:7000", "ana", "grupo", 1))
    assert (tmp_path / "outside").read_text() == "mine"


# -- File systems that lack something --------------------------------------------------------------


@pytest.fixture(scope="module")
def odd():
    """The library that makes them, for LD_PRELOAD."""
    need("cc")
    return compiled(ROOT / "tests/odd_machine.c", "-shared", "-fPIC", "-ldl")


@pytest.mark.parametrize(
    "design, error",
    [
        ("nonblocking", errno.EINVAL),
        ("pthread", errno.EINVAL),
        ("fork", errno.EINVAL),
        ("fork", errno.ENOTSUP),
    ],
)
def test_a_folder_that_cannot_be_fsynced(server, enter, connect, odd, error):
    running = server(*OPEN, env={"LD_PRELOAD": str(odd), "ODD_FSYNC": str(error)})
    ana = enter(running, "ana")
    running.order("ban ben")
    ana.send("NAME eva")
    ana.fence()
    assert not [line for line in running.stdout if "not saved" in line]
    connect.hang_up()
    running.stop()
    assert len(running.stderr) == 1 and "cannot fsync a folder" in running.stderr[0]
    running.restart(env=None)
    enter(running, "eva", "secret-of-ana")
    connect.hang_up()
    running.stop()
    assert running.stderr == []


@ONE_DESIGN
def test_another_error_of_fsync_is_one(design, odd, tmp_path):
    env = {**os.environ, "LD_PRELOAD": str(odd), "ODD_FSYNC": str(errno.EIO)}
    assert "error" in one_line(start_refused(design, directory=tmp_path / "group", env=env))


@ONE_DESIGN
@pytest.mark.parametrize("owner", [os.geteuid(), OTHER])
def test_a_file_system_that_keeps_no_owners_and_modes(server, enter, connect, odd, owner):
    running = server(*OPEN, env={"LD_PRELOAD": str(odd), "ODD_OWNER": str(owner)})
    enter(running, "ana")
    connect.hang_up()
    running.restart()
    enter(running, "ana")
    connect.hang_up()
    running.stop()
    assert len(running.stderr) == 1 and "file system keeps no" in running.stderr[0]


# -- stdout ----------------------------------------------------------------------------------------


def start(design, folder, **popen):
    line = command_line(design, "127.0.0.1", 0, folder)
    popen = {"stdin": subprocess.DEVNULL, "cwd": ROOT, "stderr": subprocess.PIPE, **popen}
    ended = subprocess.run(line, text=True, timeout=deadlines.DEADLINE, **popen)
    return ended.returncode, ended.stdout or "", ended.stderr


def test_a_stdout_that_takes_nothing(design, tmp_path):
    with open("/dev/full", "w") as full:
        assert "space" in one_line(start(design, tmp_path, stdout=full))
    assert "closed" in one_line(start(design, tmp_path, preexec_fn=lambda: os.close(1)))
    reading, writing = os.pipe()
    os.close(reading)
    assert "pipe" in one_line(start(design, tmp_path, stdout=writing))
    os.close(writing)


@ONE_DESIGN
def test_a_stderr_that_takes_nothing(server, enter):
    """Its warning is lost, and does not go to stdout instead."""

    def without_stderr():
        os.close(2)

    running = server(*OPEN, host="0.0.0.0", preexec=without_stderr)
    assert running.stdout[0] == f"listening on 0.0.0.0:{running.port}"


@ONE_DESIGN
def test_the_groups_name_in_another_encoding(server):
    running = server(group="grupo-é")
    running.restart(group="other", env={"PYTHONIOENCODING": "ascii"})
    wait_until(lambda: len(running.stdout) > 1)
    assert running.stdout[1] == "# the group is grupo-é"


# -- Addresses -------------------------------------------------------------------------------------


def test_a_link_local_address_has_its_zone(server, design):
    """In a network of its own, that of the server's process."""
    need("unshare"), need("nsenter"), need("ip")
    user = ["--user"] if os.geteuid() else []  # in which we are root
    make = ["unshare", "--net", *user, *(["--map-root-user"] if user else [])]
    if subprocess.run([*make, "true"], capture_output=True).returncode:
        lacks("needs a network of its own: root, or user namespaces")
    running = server(
        command=[*make, "sh", "-c", LINK_LOCAL, "sh", *command_of(design)], host="fe80::1%lo"
    )
    assert re.fullmatch(r"listening on \[fe80::1%lo\]:\d+", running.stdout[0])
    enter = ["nsenter", f"--target={running.pid}", "--net", *user, "--preserve-credentials"]
    script = "import socket, sys; s = socket.create_connection(('fe80::1%lo', sys.argv[1]));"
    script += "s.sendall(b'JOIN ana secret\\n'); sys.stdin.read()"
    client = subprocess.Popen(
        [*enter, sys.executable, "-c", script, str(running.port)], stdin=subprocess.PIPE
    )
    try:
        asks = running.expect(r"ana asks to join from (\[fe80::1%lo\]:\d+)")
        assert running.order("members") == [f"member ana asks from {asks[1]}", "ok"]
    finally:
        client.communicate()


# -- The folder of compiled programs ---------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two folders in which the folder of programs may be: .venv and the temporary folder."""
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / ".venv").mkdir(), (tmp_path / "tmp").mkdir()
    name = f"grupo-compiled-{os.getuid()}"
    return tmp_path / ".venv" / name, tmp_path / "tmp" / name


def test_programs_are_kept_where_only_their_user_can_write(places):
    first, second = places
    assert programs.folder_of_programs() == first
    first.chmod(0o775)  # a file system that keeps no permissions
    assert programs.folder_of_programs() == second
    second.rmdir()
    second.symlink_to(first)
    with pytest.raises(NotCompiled, match="only you can write"):
        programs.folder_of_programs()
    second.unlink()
    second.mkdir()
    give_away(second)
    with pytest.raises(NotCompiled, match="only you can write"):
        programs.folder_of_programs()


def test_a_program_behind_a_link_is_not_run(places, tmp_path):
    need("cc")
    source = tmp_path / "one.c"
    source.write_text("int main(void) { return 0; }\n")
    (tmp_path / "other").write_text("#!/bin/sh\n")
    program = compiled(source)
    program.unlink()
    program.symlink_to(tmp_path / "other")
    assert compiled(source) == program and not program.is_symlink()
    assert (tmp_path / "other").read_text() == "#!/bin/sh\n"
