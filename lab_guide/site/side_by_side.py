"""The three servers in three columns, method by method, made from their sources: a part of a page.

A line that is not in all three columns is marked. Methods of the same name stand in one row, in the
order of the first server that has them. Docstrings stand above their code, once if they are equal.
"""

import ast
from html import escape
from pathlib import Path

from pygments.lexers import PythonLexer
from pygments.token import Token

ROOT = Path(__file__).parents[2]
DESIGNS = "nonblocking", "pthread", "fork"
PLACE = "<!-- the three servers, side by side -->"  # in a page, what table() replaces


def methods(design: str) -> dict[str, tuple[str, list[str]]]:
    """Returns the methods of a server's class by name: (docstring, lines of code without it)."""
    source = (ROOT / "implementations" / f"{design}.py").read_text(encoding="utf-8")
    lines = source.split("\n")
    server = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node in server.body:
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            body = node.body[1:] if documented else node.body
            head = lines[node.lineno - 1 : node.body[0].lineno - 1]
            first = node.body[0].end_lineno if documented else node.body[0].lineno - 1
            code = head + (lines[first : node.end_lineno] if body else [])
            found[node.name] = ast.get_docstring(node) or "", [line[4:] for line in code]
    return found


def order(all_methods: dict[str, dict]) -> list[str]:
    """Returns all names: each as early as the first server that has it places it."""
    names: list[str] = []
    for found in all_methods.values():
        place = 0
        for name in found:
            if name in names:
                place = names.index(name) + 1
            else:
                names.insert(place, name)
                place += 1
    return names


def statement(line: str) -> str:
    """Returns a line without its indentation and its comment, for comparison."""
    text = "".join(
        value for kind, value in PythonLexer().get_tokens(line) if kind not in Token.Comment
    )
    return text.strip()


def column(code: list[str], common: set[str]) -> str:
    """Returns code as HTML, in which a line that is not common to all columns is marked."""
    shown = []
    for line in code:
        text = escape(line) or " "
        is_common = not line.strip() or statement(line) in common
        shown.append(text if is_common else f"<mark>{text}</mark>")
    return "\n".join(shown)


def paragraph(doc: str) -> str:
    """Returns a docstring as HTML without an empty line."""
    return "<p>" + escape(doc).replace("\n\n", "<br>\n") + "</p>" if doc else ""


def row(name: str, all_methods: dict[str, dict]) -> str:
    """Returns one method in all servers that have it, as HTML."""
    having = {design: found[name] for design, found in all_methods.items() if name in found}
    docs = {doc for doc, _ in having.values()}
    statements = [set(map(statement, code)) for _, code in having.values()]
    common = set.intersection(*statements) if len(having) == len(all_methods) else set()
    parts = [f'<h2 id="{name}"><code>{name}</code></h2>']
    if len(docs) == 1 and len(having) > 1:
        parts.append(paragraph(docs.pop()))
    parts.append('<div class="side-by-side">')
    for design in all_methods:
        doc, code = having.get(design, ("", []))
        about = paragraph(doc) if docs else ""
        body = f"<pre><code>{column(code, common)}</code></pre>" if code else "<p>&ndash;</p>"
        parts.append(f"<section><h3>{design}</h3>{about}{body}</section>")
    return "\n".join([*parts, "</div>"])


def table() -> str:
    """Returns the rows of all methods, as HTML without an empty line: so it is one block."""
    all_methods = {design: methods(design) for design in DESIGNS}
    rows = "\n".join(row(name, all_methods) for name in order(all_methods))
    return f"<div>\n{rows}\n</div>"
