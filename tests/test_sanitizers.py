"""`make check SANITIZE=address` and `thread`: the sanitizer's first report is the cause of the
verdict, and nothing that a server logs is taken for a report.
"""

import json
import os
import subprocess
import sys

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.teaching import starter
from harness.verdicts import sanitizers

# A server with a thread for each client, which answers PING alone. FAULT is where it has read
# a line.
SERVER = """\
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int lines;
static const char *group = "grupo";

static void answer(FILE *out, char *line)
{
    FAULT
    fputs(strncmp(line, "PING ", 5) ? "ERR unknown verb\\n" : (line[1] = 'O', line), out);
}

static void *serve(void *given)
{
    int fd = *(int *)given;
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    char *line = malloc(600);
    fprintf(out, "HELLO grupo/1 %s\\n", group);
    fflush(out);
    while (fgets(line, 600, in) && strchr(line, '\\n')) {
        answer(out, line);
        fflush(out);
    }
    fputs("BYE quit\\n", out);
    fclose(in);
    fclose(out);
    return NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--group"))
            group = argv[i + 1];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (void *)&at, size);
    listen(listener, 100);
    getsockname(listener, (void *)&at, &size);
    printf("listening on 127.0.0.1:%d\\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int *fd = malloc(sizeof *fd);
        pthread_t thread;
        *fd = accept(listener, NULL, NULL);
        pthread_create(&thread, NULL, serve, fd);
        pthread_detach(thread);
    }
}
"""
FREED = "free(line); fputs(line, stderr);"
UNSEEN = f"if (!fork()) {{ {FREED} _exit(0); }} wait(NULL);"  # in a child, whose end has no effect
RACE = "lines++;"
# What looks like reports, in the server's own words and in a client's.
LOGS = r"""
    fputs("==77==ERROR: AddressSanitizer: heap-use-after-free\n", stderr);
    fputs("WARNING: ThreadSanitizer: data race (pid=77)\nSUMMARY: ThreadSanitizer: x\n", stderr);
"""


pytestmark = pytest.mark.long


@pytest.fixture
def check(tmp_path):
    """check(fault, sanitizer) has `make check` judge the server with this fault; returns the
    verdicts by check, and what it printed.
    """
    need("cc")
    folder = tmp_path / "mine"
    starter.write(starter.read(3, "c"), folder)

    def check(fault, sanitizer, *only):
        (folder / "server.c").write_text(SERVER.replace("FAULT", fault))
        found = tmp_path / "found.json"
        env = {**os.environ, "LC_ALL": "C"}
        for name in "MAKEFLAGS", "MAKELEVEL":  # these tests may themselves be run by make
            env.pop(name, None)
        done = subprocess.run(
            ["make", "check", f"SANITIZE={sanitizer}", f"ONLY={' '.join(only)}", "SEED=1"]
            + [f"REPORT=--json '{found}'"],
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=env,
        )
        assert found.exists(), done.stdout + done.stderr
        verdicts = json.loads(found.read_text())["verdicts"]
        return {verdict["check"]: verdict for verdict in verdicts}, done.stdout

    return check


def test_memory_used_after_it_was_freed_is_the_cause_with_its_lines(check):
    verdicts, told = check(FREED, "address", "answers-ping")
    failure = verdicts["answers-ping"]["failure"]
    line = 1 + SERVER[: SERVER.index("FAULT")].count("\n")
    assert failure["sentence"] == "address-sanitizer"
    assert "AddressSanitizer: heap-use-after-free\n" in failure["cause"]
    assert f"thread T1: server.c:{line} (answer)" in failure["cause"]
    assert f"freed by thread T1: server.c:{line} (answer)" in failure["cause"]
    assert "make check LAB=3 SEED=1 SANITIZE=address ONLY=answers-ping" in told


def test_a_report_fails_a_check_that_noticed_nothing_else(check):
    verdicts, _ = check(UNSEEN, "address", "answers-ping")
    failure = verdicts["answers-ping"]["failure"]
    assert failure["expected"] == "no report of the address sanitizer"
    assert failure["sentence"] == "address-sanitizer"
    assert "AddressSanitizer: heap-use-after-free\n" in failure["cause"]


def test_a_race_fails_a_check_that_else_would_pass(check):
    only = "answers-ping", "halves-of-several-clients"
    verdicts, _ = check("(void)lines;", "thread", *only)
    assert {verdict["verdict"] for verdict in verdicts.values()} == {"passed"}
    verdicts, _ = check(RACE, "thread", *only)
    failure = verdicts["halves-of-several-clients"]["failure"]
    line = 1 + SERVER[: SERVER.index("FAULT")].count("\n")
    assert failure["sentence"] == "thread-sanitizer"
    assert "ThreadSanitizer: data race\n" in failure["cause"]
    assert failure["cause"].count(f"server.c:{line} (answer), server.c:") == 2
    assert "Location is global 'lines'" in failure["cause"]


@pytest.mark.parametrize("sanitizer", sanitizers.SANITIZERS)
def test_what_a_server_logs_is_no_report(sanitizer, check):
    verdicts, _ = check(LOGS, sanitizer, "answers-ping", "not-utf8")
    assert verdicts["answers-ping"]["verdict"] == "passed"
    failure = verdicts["not-utf8"]["failure"]
    assert "Sanitizer" in json.dumps(failure["slice"])
    assert "anitizer" not in failure["sentence"] + failure["cause"]


def test_a_server_in_python_has_no_sanitizer(tmp_path):
    starter.write(starter.read(0), tmp_path / "mine")
    command = [sys.executable, "-m", "harness", "lab", tmp_path / "mine", "--lab", "0"]
    done = subprocess.run(
        [*command, "--sanitizer", "address"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "lab: SANITIZE is for servers in C: this one is in Python\n"
