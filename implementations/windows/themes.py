"""The colors of both windows: a dark theme, a light one, and one for a projector in a bright room.

All text has a contrast of at least 4.5:1 to its background (WCAG 2.1, 1.4.3), also in selected
rows; tests/test_contrast.py computes it from the screens. So a color of `MEANINGS` may be used as
text on each background of its theme, and no text is dim.
"""

from __future__ import annotations

import argparse
from typing import Any

from textual.theme import Theme

AUTHORS = 8  # colors of authors
# Of the text of each meaning. In all themes text is also black on `warning`.
DARK = {
    "edge": "#5aa2e0",
    "field": "#242424",
    "quiet": "#b4b4b4",
    "asks": "#ffc861",
    "here": "#7fdc8f",
    "banned": "#ff9a9a",
    "unread": "#ff9a9a",
    "own-name-background": "#ffd75f",
    "cursor": "#00005f",
    "cursor-blurred": "#262626",
}
DARK_AUTHORS = "#e5a950 #6cb6eb #9bd17b #e58fb1 #b9a3f2 #63cfc0 #ec8f6c #c9c36a"
LIGHT = {
    "edge": "#1f5fa8",
    "field": "#e6e6e6",
    "quiet": "#4a4a4a",
    "asks": "#6f4500",
    "here": "#0f5f27",
    "banned": "#a3001d",
    "unread": "#a3001d",
    "own-name-background": "#ffd75f",
    "cursor": "#cfe3f7",
    "cursor-blurred": "#e4e4e4",
}
LIGHT_AUTHORS = "#7a4600 #0b5394 #2b6210 #9c1f5b #5b3fb0 #0b6157 #9a3412 #5c5600"
PROJECTOR = {
    "edge": "#000000",
    "field": "#e6e6e6",
    "quiet": "#000000",
    "asks": "#5c3300",
    "here": "#004d00",
    "banned": "#8b0000",
    "unread": "#8b0000",
    "own-name-background": "#ffff00",
    "cursor": "#ffff66",
    "cursor-blurred": "#e8e8e8",
}
PROJECTOR_AUTHORS = "#5c3300 #00336b #1e4d00 #7a0045 #40208c #004d45 #7a2400 #434000"


def make_theme(
    name: str, is_dark: bool, text: str, meanings: dict[str, str], authors: str, **base: Any
) -> Theme:
    """Return a theme.

    Args:
        name: of the theme.
        is_dark: whether text is lighter than its background.
        text: the color of most text.
        meanings: see DARK.
        authors: AUTHORS colors, with spaces between them.
        base: the base colors of Textual's design system.
    """
    quiet = meanings["quiet"]
    variables = {
        **meanings,
        **{f"author-{number}": color for number, color in enumerate(authors.split())},
        "text": "auto",  # black or white, whole: Textual's own is a part of the background
        "button-color-foreground": "auto",
        "button-foreground": text,
        "button-focus-text-style": "bold",
        "text-muted": quiet,
        "text-disabled": quiet,
        "foreground-muted": quiet,
        "foreground-disabled": quiet,
        "border": meanings["edge"],
        "border-blurred": meanings["edge"],
        "block-cursor-foreground": text,
        "block-cursor-background": meanings["cursor"],
        "block-cursor-blurred-foreground": text,
        "block-cursor-blurred-background": meanings["cursor-blurred"],
        "input-selection-background": meanings["cursor"],
        "input-selection-foreground": text,
        "footer-background": base["panel"],
        "footer-foreground": text,
        "footer-description-foreground": text,
        "footer-key-foreground": meanings["asks"],
        "scrollbar": quiet,
        "scrollbar-hover": quiet,
        "scrollbar-active": text,
        "scrollbar-background": base["surface"],
        "scrollbar-background-hover": base["surface"],
        "scrollbar-background-active": base["surface"],
        "scrollbar-corner-color": base["surface"],
    }
    return Theme(name=name, dark=is_dark, foreground=text, variables=variables, **base)


THEMES = {
    "dark": make_theme(
        "dark",
        True,
        "#f0f0f0",
        DARK,
        DARK_AUTHORS,
        primary="#0b5394",
        secondary="#0b5394",
        accent="#ffc861",
        warning="#ffc861",
        error="#ff9a9a",
        success="#7fdc8f",
        background="#121212",
        surface="#1a1a1a",
        panel="#222a31",
    ),
    "light": make_theme(
        "light",
        False,
        "#1a1a1a",
        LIGHT,
        LIGHT_AUTHORS,
        primary="#b8d8f5",
        secondary="#b8d8f5",
        accent="#6f4500",
        warning="#ffd166",
        error="#a3001d",
        success="#0f5f27",
        background="#ffffff",
        surface="#f8f8f8",
        panel="#e8eef4",
    ),
    "projector": make_theme(
        "projector",
        False,
        "#000000",
        PROJECTOR,
        PROJECTOR_AUTHORS,
        primary="#000000",
        secondary="#000000",
        accent="#5c3300",
        warning="#ffff00",
        error="#8b0000",
        success="#004d00",
        background="#ffffff",
        surface="#ffffff",
        panel="#ffffff",
    ),
}


def add_theme_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --theme."""
    parser.add_argument(
        "--theme",
        choices=THEMES,
        default="dark",
        help="colors; F4 changes them later (default: %(default)s)",
    )
