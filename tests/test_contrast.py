"""The contrast of the windows' text, computed from their screens in each theme."""

import asyncio
import signal

import pytest
from rich.color import Color, ColorSystem
from test_windows import listens, open_server, shows, until  # noqa: F401, one is a fixture
from textual.screen import ModalScreen
from textual.widgets import Input, Select

from harness.driving.client import WireClient
from implementations.windows.chat_screen import ChatScreen
from implementations.windows.member import MemberApp
from implementations.windows.owner import OwnerApp, parse_arguments
from implementations.windows.themes import THEMES

TEXT, GRAPHICS = 4.5, 3.0  # WCAG 2.1: 1.4.3 for text, 1.4.11 for lines and marks
SIXTEEN_COLORS = 3.0  # of TERM=xterm, whose palette each terminal chooses for itself


def luminance(color):
    """The relative luminance of WCAG 2.1."""
    parts = [part / 255 for part in color]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_of_known_colors():
    assert contrast((0, 0, 0), (255, 255, 255)) == 21
    assert contrast((10, 20, 30), (10, 20, 30)) == 1
    assert round(contrast((118, 118, 118), (255, 255, 255)), 2) == 4.54


def as_shown(color, system):
    """The red, green and blue of a color in a terminal with these colors."""
    return (color or Color.default()).downgrade(system).get_truecolor()


def faults(app, system):
    """All texts on the screen that are hard to read: (contrast, text, style)."""
    found = set()
    strips = app.screen._compositor.render_strips()
    if isinstance(app.screen, ModalScreen):  # what is behind a dialog is inactive, and shaded
        x, y, width, height = app.screen.children[0].region
        strips = [strip.crop(x, x + width) for strip in strips[y : y + height]]
    for strip in strips:
        for segment in strip:
            text, style = segment.text.strip(), segment.style
            if not text or style is None or style.conceal:
                continue
            ratio = contrast(as_shown(style.color, system), as_shown(style.bgcolor, system))
            is_graphics = all("\u2500" <= char <= "\u259f" or char == " " for char in text)
            least = GRAPHICS if is_graphics else TEXT
            if system is ColorSystem.STANDARD:
                least = SIXTEEN_COLORS
            if ratio < least or style.dim:
                found.add((round(ratio, 2), text[:40], str(style)))
    return sorted(found)


async def check(pilot, what):
    """Read the present screen in all themes."""
    for theme in THEMES:
        pilot.app.theme = theme
        await pilot.pause()
        for system in (ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD):
            bad = faults(pilot.app, system)
            assert not bad, f"{what}, theme {theme}, {system.name}:\n" + "\n".join(map(str, bad))


async def check_the_owners_dialogs(pilot):
    for keys, words in ((["c", "tab"], "Close os-lab?"), (["s", "enter"], "a password has")):
        await pilot.press(*keys)
        await shows(pilot, words)
        await check(pilot, words)
        await pilot.press("escape")


async def check_the_start(pilot, app):
    app.screen.show_error("an error")
    await check(pilot, "the form")
    app.screen.query_one(Input).focus()
    app.screen.query_one(Input).action_select_all()
    await check(pilot, "selected text")
    app.screen.query_one("#design", Select).focus()
    await pilot.press("enter", "down")
    await check(pilot, "choices")
    await pilot.press("escape")
    app.screen.query_one("#start").focus()


@pytest.mark.long
def test_the_owners_window_has_enough_contrast(tmp_path):
    async def play():
        directory = str(tmp_path / "grupo")
        options = ["--port", "0", "--dir", directory, "--group", "os-lab"]
        app = OwnerApp(parse_arguments(options))
        async with app.run_test(size=(110, 34)) as pilot:
            await pilot.pause()
            await check_the_start(pilot, app)
            screen = await listens(pilot)
            names = ["ana", "ben", "eve", *(f"turma{number}" for number in range(8))]
            clients = [WireClient(screen.console.endpoint) for _ in names]
            for client, name in zip(clients, names, strict=True):
                client.send(f"JOIN {name} secret")
            await until(pilot, lambda: len(screen.console.askers) == len(names), "all of them")
            await pilot.press("A")
            for client, name in zip(clients, names, strict=True):
                client.expect("WELCOME .*")
                client.send(f"SAY hello, I am {name}")
            clients[0].send("QUIT")
            screen.order("ban eve")
            asker = WireClient(screen.console.endpoint)
            asker.send("JOIN new secret")
            await shows(pilot, "turma7: hello", "○ ana", "eve banned", "? new asks")
            for row in (0, 1, len(names) - 1, len(names)):  # asks, here, away and banned
                screen.query_one("#people").highlighted = row
                await check(pilot, f"selected row {row}")
            screen.query_one("#messages").focus()
            await check(pilot, "the list without the focus")
            await check_the_owners_dialogs(pilot)
            await pilot.press("z")
            await shows(pilot, "waits in")
            await check(pilot, "the processes")
            screen.server.signal_group(signal.SIGKILL)
            await shows(pilot, "by signal 9")
            await check(pilot, "the end")
            for client in (*clients, asker):
                client.close()

    asyncio.run(play())


@pytest.mark.long
def test_the_members_window_has_enough_contrast(open_server, tmp_path):  # noqa: F811
    async def play():
        address = "{}:{}".format(*open_server.address)
        app = MemberApp(address, "ana", tmp_path / "groups")
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            app.screen.show_error("an error")
            await check(pilot, "the form")
            await pilot.press(*"secret", "enter")
            await until(
                pilot,
                lambda: (
                    isinstance(app.screen, ChatScreen)
                    and app.screen.conversation.progress.caught_up
                ),
                "in",
            )
            chat = app.screen
            with WireClient(open_server.address) as ben, WireClient(open_server.address) as eve:
                ben.join("ben", "secret")
                eve.join("eve", "secret")
                eve.send("QUIT")
                chat.message_log.set_watched(False)
                ben.send("SAY ana, look at https://example.org/")
                await shows(pilot, "ben: ana, look", "eve (away)", "new")
                await pilot.press(*"my answer")
                await check(pilot, "the conversation")
                await pilot.press("f1")
                await check(pilot, "help")
                await pilot.press("escape")
                open_server.kill()
                await shows(pilot, "Retrying in")
                await check(pilot, "without a server")

    asyncio.run(play())
