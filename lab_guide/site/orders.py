"""Writes races.html, in both languages: all orders of the classic races, as trees to walk through.

python -m lab_guide.site.orders
"""

from pathlib import Path

from harness.explore.play import recorded
from harness.explore.play.page import recorded_page
from harness.output import put
from harness.verdicts import language

ROOT = Path(__file__).parents[2]
PAGES = {"en": ROOT / "lab_guide/races.html", "pt-BR": ROOT / "lab_guide/pt-BR/races.html"}


def main():
    races = [
        recorded.record(name, is_fixed, ROOT)
        for name in recorded.RACES
        for is_fixed in (False, True)
    ]
    for spoken, path in PAGES.items():
        language.use(spoken)
        put(path, recorded_page(races))


if __name__ == "__main__":
    main()
