"""The first screen of the owner's window: which server to start, and how."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Input, Select

from ..client.arguments import is_port
from ..common import wire
from .server_process import command_of, program_of
from .widgets import FormScreen, KeyBar, PlainText

DESIGNS = {
    "nonblocking": "nonblocking: one thread, non-blocking sockets",
    "pthread": "pthread: one thread per client, and a lock",
    "fork": "fork: one process per client, and pipes",
}
ADMISSIONS = {
    "ask": "ask me about each new person",
    "all": "everyone",
    "none": "members only, nobody new",
}


class StartScreen(FormScreen):
    """A form for the server's command line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f4", "app.next_theme", "Theme")]
    CSS = """
    StartScreen #server { height: auto; max-height: 6; }
    StartScreen #command { width: 1fr; }
    """

    @dataclass
    class Submitted(Message):
        """The user wants to start a server."""

        command: list[str]  # the server's command line
        design: str  # the server's design or program, for a title
        group: str  # the name of a new group

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare a form that is filled with the window's own options."""
        super().__init__()
        self.options = options

    def compose(self) -> ComposeResult:
        """Create the fields. Their ids are the server's options."""
        with VerticalScroll(id="box", can_focus=False):
            yield PlainText("Grupo: start a group", id="title")
            with Horizontal(classes="field", id="server"):
                yield PlainText("Server")
                if self.options.command:
                    yield PlainText(shlex.join(self.options.command), id="command")
                else:
                    yield select("design", DESIGNS, self.options.design)
            for label, option in (
                ("Group", "group"),
                ("Address", "host"),
                ("Port", "port"),
                ("Folder", "dir"),
            ):
                with Horizontal(classes="field"):
                    yield PlainText(label)
                    yield Input(str(getattr(self.options, option)), compact=True, id=option)
            with Horizontal(classes="field"):
                yield PlainText("Who may join")
                yield select("admit", ADMISSIONS, self.options.admit)
            yield Button("Start", id="start", variant="primary", compact=True)
            yield PlainText(id="error")
        yield KeyBar()

    def on_mount(self) -> None:
        """Let Enter start the server at once."""
        self.query_one("#start").focus()

    def on_input_submitted(self) -> None:
        """Start the server with Enter in any field."""
        self.submit()

    def on_button_pressed(self) -> None:
        """Start the server with the button."""
        self.submit()

    def submit(self) -> None:
        """Post Submitted, or display an error of a field."""
        value = {field.id: field.value for field in (*self.query(Input), *self.query(Select))}
        group, port = str(value["group"]).strip(), str(value["port"]).strip()
        # A server would take a name that starts with - for an option
        if not wire.is_group(group) or group.startswith("-"):
            limit = f"1 to {wire.MAX_GROUP} bytes of plain text"
            self.show_error(f"a group's name has {limit}, and does not start with -")
            return
        if not is_port(port):
            self.show_error("a port is a number from 0 to 65535; 0 means any free port")
            return
        self.show_error("")
        if self.options.command:
            command = list(self.options.command)
            design = program_of(command)
        else:
            design = str(value["design"])
            command = command_of(design)
        command += ["--host", str(value["host"]).strip(), "--port", port, "--group", group]
        command += ["--dir", str(value["dir"]), "--admit", str(value["admit"])]
        self.post_message(self.Submitted(command, design, group))

    def show_end(self, reason: str | None) -> None:
        """Display why the server ended."""
        self.show_error(reason or "")
        self.query_one("#start").focus()


def select(option: str, choices: dict[str, str], value: str) -> Select[str]:
    """Return a field with a list of choices: value and label of each."""
    return Select(
        [(label, name) for name, label in choices.items()],
        value=value,
        allow_blank=False,
        compact=True,
        id=option,
    )
