"""Draws the layers of the code from its imports: python -m lab_guide.site.layers [FILE].

An arrow means "imports". An arrow that follows from two others is left out: teaching imports
driving, but also tracing, which imports driving. PLACES says where each box is drawn. A package
without a place, or an arrow upwards, is an error.
"""

import sys
from html import escape
from pathlib import Path

from harness.output import put, run
from harness.teaching.imports import imported

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "lab_guide" / "pictures" / "layers.svg"
SERVERS = "nonblocking pthread fork"
# The row, first column and last column of each box. Rows count from the top.
PLACES = {
    "harness": {
        "grading": (0, 2, 3),
        "checks": (1, 1, 1),
        "teaching": (1, 3, 4),
        "explore": (2, 2, 2),
        "demo": (3, 0, 0),
        "bench": (3, 1, 1),
        "model": (3, 2, 2),
        "verdicts": (3, 3, 3),
        "tracing": (2, 4, 4),
        "driving": (4, 0, 3),
    },
    "implementations": {
        "windows": (0, 1, 1),
        SERVERS: (1, 0, 0),
        "client": (1, 1, 1),
        "common": (2, 0, 4),
    },
}
# Modules that are no layer: the command line finds its commands by name, and these serve it.
NO_LAYER = {
    "harness": {"__init__", "__main__", "arguments", "output", "sources"},
    "implementations": {"__init__"},
}
WIDE, HIGH, GAP, DEEP = 116, 60, 14, 40  # pixels: a box, and the gaps beside and below it
MARGIN, TITLE = 16, 34
INK = "#333"
FILLS = {"harness": "#d6e9f8", "implementations": "#d8f0e4"}


def box_of(name):
    """The (package, box) that a dotted name belongs to, or None if it belongs to no box."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    if package not in PLACES or not part or part in NO_LAYER[package]:
        return None
    path = ROOT / package / part
    if not path.with_suffix(".py").is_file() and not any(path.glob("*.py")):
        return None  # a name that __init__.py defines
    if part in SERVERS.split():
        part = SERVERS
    if part not in PLACES[package]:
        raise SystemExit(
            f"{name} has no place in the picture: add it to PLACES in {Path(__file__).name}"
        )
    return package, part


def arrows():
    """{(box, box)}: which imports which, of all boxes."""
    found = set()
    for package in PLACES:
        for path in sorted(ROOT.glob(f"{package}/**/*.py")):
            source = box_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
            if source:
                found |= {
                    (source, target)
                    for target in map(box_of, imported(path))
                    if target and target != source
                }
    return found


def reduced(found):
    """The arrows that do not follow from others."""

    def reaches(start, end, skip):
        return any(
            (one, two) != skip and (two == end or reaches(two, end, skip))
            for one, two in found
            if one == start
        )

    return {arrow for arrow in found if not reaches(*arrow, skip=arrow)}


def layout():
    """{box: (left, top, width)}, {package: (top, height)} and the whole height, in pixels."""
    boxes, frames, top = {}, {}, MARGIN
    for package, places in PLACES.items():
        rows = 1 + max(row for row, _, _ in places.values())
        height = TITLE + rows * HIGH + (rows - 1) * DEEP + GAP
        frames[package] = top, height
        for name, (row, first, last) in places.items():
            boxes[package, name] = (
                MARGIN + GAP + first * (WIDE + GAP),
                top + TITLE + row * (HIGH + DEEP),
                (last - first + 1) * (WIDE + GAP) - GAP,
            )
        top += height + MARGIN
    return boxes, frames, top


def line(source, target, boxes):
    """An arrow from the lower edge of a box to the upper edge of another."""
    (left, top, width), (to_left, to_top, to_width) = boxes[source], boxes[target]
    if to_top <= top:
        raise SystemExit(f"{source} imports {target}, which the picture puts above it")
    start = left + width / 2
    end = min(max(start, to_left + WIDE / 4), to_left + to_width - WIDE / 4)
    return (
        f'<line x1="{start:g}" y1="{top + HIGH}" x2="{end:g}" y2="{to_top - 3}"'
        f' stroke="{INK}" stroke-width="1.5" marker-end="url(#head)"/>'
    )


def rectangle(x, y, width, height, fill="none", stroke=INK):
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5"'
        f' fill="{fill}" stroke="{stroke}"/>'
    )


def text(x, y, words, look=""):
    return f'<text x="{x:g}" y="{y:g}"{look}>{escape(words)}</text>'


def draw():
    """The picture, as SVG."""
    boxes, frames, height = layout()
    columns = 1 + max(last for boxes in PLACES.values() for _, _, last in boxes.values())
    width = 2 * MARGIN + GAP + columns * (WIDE + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f' width="{width}" height="{height}"',
        ' font-family="sans-serif" font-size="17" text-anchor="middle">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" orient="auto"',
        f' markerWidth="7" markerHeight="7"><path d="M0,0 L8,4 L0,8 z" fill="{INK}"/>',
        "</marker></defs>",
        rectangle(0, 0, width, height, "white", "none"),
    ]
    for package, (top, high) in frames.items():
        parts.append(rectangle(MARGIN, top, width - 2 * MARGIN, high, stroke="#888"))
        look = ' text-anchor="start" font-weight="bold"'
        parts.append(text(MARGIN + GAP, top + 23, f"{package}/", look))
    parts += [line(source, target, boxes) for source, target in sorted(reduced(arrows()))]
    for (package, name), (left, top, wide) in boxes.items():
        parts.append(rectangle(left, top, wide, HIGH, FILLS[package]))
        words = name.split()
        for number, word in enumerate(words):
            y = top + HIGH / 2 + 6 + 18 * (number - (len(words) - 1) / 2)
            parts.append(text(left + wide / 2, y, word))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    put(file, draw())
    print(file)


if __name__ == "__main__":
    run(main)
