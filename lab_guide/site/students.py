"""The guide for students: make guide STUDENT=1.

It lacks the pages for teachers, the exam, the servers that are the solutions, and which bug each
symptom is of. A link to what it lacks becomes plain text.
"""

import os
import posixpath
import re

IS_ASKED = bool(os.environ.get("GRUPO_STUDENT"))
LACKS = re.compile(
    r"""lab_guide/(pt-BR/)?(instructor|grading|exam|side-by-side)\.md
    | lab_guide/exhibits(/.*)?
    | implementations/.*\.py | tests(/.*)?""",
    re.X,
)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^)\s>]+)>?\)")
BUGS = r"\[[^\]]+\]\((?:\.\./)?exhibits/[^)]+\)"  # exhibits that a table names


def lacks(uri: str) -> bool:
    """Whether the guide for students, if it is asked for, lacks this path of the repository."""
    return IS_ASKED and bool(LACKS.fullmatch(uri))


def page(uri: str, text: str) -> str:
    """Returns a page's Markdown as students see it, if that is asked for."""
    if not IS_ASKED:
        return text
    text = re.sub(rf": {BUGS}(, {BUGS})*", "", text)  # in requirements.md
    text = re.sub(rf"^(\|.*)\| {BUGS} (\|.*)$", r"\1\2", text, flags=re.M)  # in exhibits.md
    text = re.sub(
        r"^(\| (?:symptom|sintoma) \|.*\|) bug \|(.*)\n(.*) --- \|", r"\1\2\n\3", text, flags=re.M
    )
    lines = [line for line in text.split("\n") if not is_about_lacking(uri, line)]
    return LINK.sub(
        lambda found: found[1] if leads_to_lacking(uri, found) else found[0], "\n".join(lines)
    )


def is_about_lacking(uri: str, line: str) -> bool:
    """Whether an item of a list or a row of a table begins with a link to what is not there."""
    begins = re.match(r"(?:- |\| )" + LINK.pattern, line)
    return bool(begins) and leads_to_lacking(uri, begins)


def leads_to_lacking(uri: str, link: re.Match[str]) -> bool:
    """Whether a link of this page leads to what the guide for students lacks."""
    place = link[2].partition("#")[0]
    return lacks(posixpath.normpath(posixpath.join(posixpath.dirname(uri), place)))
