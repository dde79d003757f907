"""What the tests share: each test that takes `design` runs against all three servers, each in a
folder of its own.
"""

import os
import shutil
import subprocess

import pexpect
import pytest
from hypothesis import HealthCheck, settings

from harness.driving.client import WireClient
from harness.driving.server import DESIGNS, ROOT, Server

# In --admit all a JOIN is answered by WELCOME, and a wrong password soon: what most tests want.
OPEN = ("--admit", "all", "--reject-after", "0.05")

# A busy machine is no reason to fail: an example may take as long as it takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_make_parametrize_id(val):
    """A long text is named by its beginning: a test's whole name is in its environment, which
    has a limit.
    """
    return f"{val[:60]!r}..." if isinstance(val, (str, bytes)) and len(val) > 60 else None


@pytest.fixture(params=DESIGNS)
def design(request):
    return request.param


@pytest.fixture
def server(design, tmp_path):
    """server(*args, **options) starts one. At the end each must end in order: status 0, nobody
    left, no traceback.
    """
    started = []

    def start(*args, **options):
        options.setdefault("directory", tmp_path / "grupo")
        started.append(Server(options.pop("command", design), args=args, **options))
        return started[-1]

    yield start
    complaints = []
    for one in started:
        try:
            one.close()
        except AssertionError as complaint:
            complaints.append(str(complaint))
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def connect(server):
    """connect(running, **options) -> a WireClient that is closed before the servers are.
    connect.hang_up() closes all so far: a server that ends waits, a second at most, for a client
    that has not closed after its BYE.
    """
    clients = []

    def connect(running, **options):
        clients.append(WireClient(running.address, **options))
        return clients[-1]

    def hang_up():
        while clients:
            clients.pop().close()

    connect.hang_up = hang_up
    yield connect
    hang_up()


@pytest.fixture
def enter(connect):
    """enter(running, name) -> a member that is here and has read its own IN; its password is
    `secret-of-NAME`.
    """

    def enter(running, name, password=None, **options):
        client = connect(running, **options)
        client.join(name, password or f"secret-of-{name}")
        client.expect(r"IN \d+ \S+ .+")
        return client

    return enter


def end_terminal(terminal):
    """Close a pexpect terminal, and wait until its program has ended: pexpect itself gives up if
    that takes more than a tenth of a second, as it does on a busy machine.
    """
    try:
        terminal.close(force=True)
    except pexpect.ExceptionPexpect:  # it was killed
        terminal.wait()


def need(tool):
    """Skip where a system tool is missing, but never in CI: there it is a failure."""
    if not shutil.which(tool):
        lacks(f"{tool} is not installed")


def lacks(what):
    """Skip for want of something that a user's machine may lack; in CI that is a failure, and says
    `what`.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI must not skip")
    pytest.skip(what)


@pytest.fixture
def homeless():
    """homeless(*command, **options) runs a command without HOME, as a user without an entry in the
    password database.
    """
    need("unshare")

    def run(*command, **options):
        return subprocess.run(
            ["unshare", "--user", "--map-user=54321", *map(str, command)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **options,
        )

    if (tried := run("true")).returncode:
        lacks(f"this machine does not give a process another user: {tried.stderr}")
    return run


def rest_in_soak(values, chosen):
    """Parameters of a long test: those that are not chosen are left to `make soak`."""
    return [
        pytest.param(value, marks=[] if value in chosen else [pytest.mark.soak]) for value in values
    ]


def browser():
    """Where Chromium is."""
    found = next(
        filter(
            None,
            map(
                shutil.which,
                ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
            ),
        ),
        None,
    )
    return found or lacks("no Chromium is installed")
