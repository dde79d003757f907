"""The language in which students read what the harness says. Records and --json are English; a
Message (harness/driving/messages.py) is rendered in the reader's language from its template and
values, and nothing that a server wrote is ever translated.

`python -m harness.verdicts.language` has Babel collect the texts of the sources into the catalogue,
and prints what has no translation in it.
"""

import ast
import functools
import os
import re
import string
import tomllib
from pathlib import Path

from harness.driving.messages import Message, of_text
from harness.output import run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CATALOGUE = HERE / "locale" / "pt_BR" / "LC_MESSAGES" / "grupo.po"
LANGUAGES = "en", "pt-BR"
KEYWORDS = {
    "msg": None,
    "say": None,
    "template": None,
}  # the functions whose first argument is a text of ours

in_use = "en"


def use(language):
    """From now on say() speaks it."""
    global in_use
    in_use = language


def language_of(environment):
    """One of LANGUAGES, as gettext chooses: LC_ALL, LC_MESSAGES or LANG is the locale; LANGUAGE
    lists what is preferred, unless that is C.
    """
    locale = next(
        filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "C"
    )
    if re.split(r"[.@]", locale)[0] in ("C", "POSIX"):
        return "en"
    for wanted in [*environment.get("LANGUAGE", "").split(":"), locale]:
        if language := {"pt": "pt-BR", "en": "en"}.get(re.split(r"[_.@-]", wanted.lower())[0]):
            return language
    return "en"


def choose(asked=None):
    """From now on say() speaks what is asked for, else what the locale says."""
    use(asked or language_of(os.environ))


def say(text, /, **values):
    """A text of ours, with these values in it, or a Message, in the language in use."""
    if not isinstance(text, Message):
        text = Message(text if values else of_text(text), values)
    return str(text) if in_use == "en" else rendered(text)


def rendered(value):
    """A Message in the catalogue's language, and so the Messages among its values; all else as it
    is.
    """
    if isinstance(value, list):
        return "\n".join(str(rendered(one)) for one in value)
    if not isinstance(value, Message):
        return value
    return (
        catalogue()
        .get(value.template, value.template)
        .format(**{name: rendered(one) for name, one in value.values.items()})
    )


@functools.cache
def catalogue():
    """{id: translation}"""
    return {message.id: message.string for message in read() if message.id and message.string}


def read():
    from babel.messages.pofile import read_po  # not needed for English

    with open(CATALOGUE, "rb") as file:
        return read_po(file, locale="pt_BR")


def holes(template):
    """The names of the values that a template holds, in its order."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


# -- From the sources to the catalogue -------------------------------------------------------------


def messages():
    """{id: where} of all texts that students read, in the order of the sources."""
    from babel.messages.extract import extract_from_dir

    found = {}
    for folder in "harness", "notebooks/checks":
        for path, _, text, *_ in extract_from_dir(
            ROOT / folder, [("**.py", "python"), ("**.html", "jinja2")], keywords=KEYWORDS
        ):
            if re.search(r"[^\W\d_]", re.sub("{.*?}", "", text)):
                found.setdefault(text, f"{folder}/{path}")
    for path in sorted((ROOT / "harness" / "checks").glob("check_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
                found.setdefault(
                    of_text(" ".join(ast.get_docstring(node).split())), str(path.relative_to(ROOT))
                )
    from harness.verdicts.sentences import CAUSES

    for cause, _ in CAUSES.values():
        found.setdefault(of_text(cause), "harness/verdicts/sentences.py")
    for path in sorted((ROOT / "lab_guide").glob("*/*.toml")):
        known = tomllib.loads(path.read_text(encoding="utf-8"))
        texts = [known.get("symptom") or known["title"], known.get("about", "")]
        texts += [one["question"] for one in known.get("predict", ())]
        for text in filter(None, texts):
            found.setdefault(of_text(text), str(path.relative_to(ROOT)))
    return found


def main():
    """Exit status 1 if something has no translation."""
    from babel.messages import Catalog
    from babel.messages.pofile import write_po

    before = read()
    known = catalogue()
    new = Catalog(
        "pt_BR",
        header_comment="# What students read of Grupo's check, in Brazilian Portuguese.",
        project="Grupo",
        version="1",
        fuzzy=False,
        last_translator="Grupo",
        language_team="pt_BR",
        creation_date=before.creation_date,
        revision_date=before.creation_date,
    )
    lacking = 0
    for text, where in messages().items():
        new.add(text, known.get(text, ""), locations=[(where, None)])
        if text not in known:
            lacking += 1
            print(f"{where}: {text!r}")
    with open(CATALOGUE, "wb") as file:
        write_po(file, new, width=150)
    return int(lacking > 0)


if __name__ == "__main__":
    run(main)
