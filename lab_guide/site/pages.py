"""What MkDocs makes pages of, and where they stand in the navigation: a hook of
lab_guide/mkdocs.yml.

To MkDocs each page has the same place as in the repository, so a link that leads somewhere there
does so in the site. Pages are the guide's Markdown, the notebooks as they were run, and every file
or folder of the repository that a page links to.
"""

import base64
import itertools
import posixpath
import re
from pathlib import Path

from markdown_it import MarkdownIt
from mkdocs.structure.files import File
from nbformat import read
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

from harness.teaching import track
from lab_guide.site import requirements, side_by_side, students

ROOT = Path(__file__).parents[2]
LABS = [f"lab{number}.md" for number in range(9)]
STAGES = [f"build/stage{number}.md" for number in track.numbers()]
PAGES = [
    "installing.md",
    "using-the-servers.md",
    "checking-a-server.md",
    "model.md",
    "explore.md",
    "pictures-and-traces.md",
    "benchmarks.md",
    "architecture.md",
    "side-by-side.md",
]
RULES = ["protocol.md", "requirements.md", "exhibits.md"]
TEACHERS = ["instructor.md", "grading.md", "exam.md"]
KNOWN = {"index.md", *LABS, *PAGES, *RULES, *TEACHERS}
LINK = re.compile(r"""(?:\]\(<?|\b(?:src|href)="|^\[[^]\n]+\]: *)([^)\s"#>:]+)""", re.M)
ITEM = re.compile(r" *(?:[-*+]|\d+[.)])(?: {1,4}(?! )| +|$)")
PORTUGUESE = "lab_guide/pt-BR/"


class Shown(File):
    """A page that is made of something else than Markdown."""

    def is_documentation_page(self):
        return True


def on_files(files, config):
    todo = [
        path.relative_to(ROOT).as_posix()
        for those in (
            "lab_guide/*.md",
            "lab_guide/pt-BR/*.md",
            "notebooks/[0-9]*.ipynb",
            "notebooks/pt-BR/[0-9]*.ipynb",
        )
        for path in sorted(ROOT.glob(those))
    ]
    seen = set()
    while todo:
        uri = todo.pop(0)
        if uri in seen or students.lacks(uri):
            continue
        seen.add(uri)
        file, text = made_of(uri, files, config)
        files.append(file)
        for link in LINK.findall(text):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(uri), link))
            if not target.startswith((".", "/")) and (ROOT / target).exists():
                todo.append(target)
    config.nav = navigation(seen)
    return files


def made_of(uri, files, config):
    """(the file for MkDocs, the Markdown whose links are to be followed) of a path of the
    repository.
    """
    path, to = ROOT / uri, uri.removeprefix("lab_guide/")
    if path.is_file() and (
        path.suffix in (".html", ".svg") or b"\0" in path.read_bytes()
    ):  # a page with a script, a picture, a capture
        file = File.generated(config, uri, abs_src_path=str(path))
        file.dest_uri = to
        return file, ""
    if path.is_dir():
        kind, to, text = Shown, to + "/index.html", folder(path)
    elif path.suffix == ".md" and not uri.startswith("notebooks/"):
        kind, to, text = File, to.removesuffix(".md") + ".html", path.read_text(encoding="utf-8")
    elif path.suffix == ".ipynb":
        kind, to, text = Shown, to.removesuffix(".ipynb") + ".html", notebook(path, files, config)
    else:
        kind, to, text = Shown, to + ".html", source(path)
    file = kind(uri, None, config.site_dir, False, dest_uri=to)
    file.generated_by, file.abs_src_path, file._content = "pages", None, text
    return file, "" if kind is Shown and path.is_file() and path.suffix != ".ipynb" else text


def navigation(there):
    """What is there of the pages that we know by name, in their order, and then the others."""

    def those(*names, under="lab_guide/"):
        return [under + name for name in names if under + name in there]

    def others(under="lab_guide/"):
        return sorted(
            uri
            for uri in there
            if uri.endswith(".md")
            and posixpath.dirname(uri) + "/" == under
            and posixpath.basename(uri) not in KNOWN
        )

    made = [
        *those("index.md"),
        {"Labs": those(*LABS)},
        {"Build it from an empty file": those(*STAGES)},
        *those(*RULES),
        {"Using Grupo": those(*PAGES)},
        {"Notebooks": sorted(uri for uri in there if uri.endswith(".ipynb"))},
        {"For teachers": those(*TEACHERS)},
        {
            "Em português": those(
                *("index.md", *LABS, *STAGES, "exhibits.md", *PAGES, "grading.md"),
                under=PORTUGUESE,
            )
            + others(PORTUGUESE)
        },
        *others(),
    ]
    return [part for part in made if isinstance(part, str) or any(part.values())]


# -- What is not Markdown --------------------------------------------------------------------------


def fence(text, info):
    marks = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{marks}{info}\n{text.rstrip()}\n{marks}\n"


def unsearched(path, text):
    """Sources would drown the guide's own words in the search."""
    head = "---\nsearch: {exclude: true}\nhide: [toc]\n---\n"
    return f"{head}# {path.relative_to(ROOT).as_posix()}\n\n{text}"


def folder(path):
    inside = sorted(each for each in path.iterdir() if each.name[0] not in "._")
    return unsearched(
        path,
        "\n".join(
            f"- [{each.name}{'/' * each.is_dir()}]({path.name}/{each.name})" for each in inside
        ),
    )


def source(path):
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = "text"
    return unsearched(path, fence(path.read_text(encoding="utf-8"), f'{language} linenums="1"'))


def notebook(path, files, config):
    """A notebook's Markdown, code and outputs as they are kept in it; nothing is run. The pictures
    in it become files.
    """
    parts = []
    title = "Uma solução" if path.parent.name == "pt-BR" else "A solution"
    for cell in read(path, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            parts.append(cell.source + "\n")
        elif "test" not in tags:
            code = fence(cell.source, "python")
            parts.append(
                f"<details>\n<summary>{title}</summary>\n\n{code}\n</details>\n"
                if "solution" in tags
                else code
            )
            for name, outputs in itertools.groupby(cell.outputs, lambda output: output.get("name")):
                outputs = list(outputs)
                if name:  # what was printed bit by bit
                    parts.append(printed("".join(output.text for output in outputs)))
                else:
                    parts += [shown(output, path, files, config) for output in outputs]
    return "\n".join(parts)


def printed(text):
    return fence(re.sub(r"\x1b\[[\d;]*m", "", text), "{.text .output}")


def shown(output, path, files, config):
    if "text/html" not in output.data:
        return printed(output.data["text/plain"])

    def kept(match):
        name = f"{path.stem}-{sum(path.stem in uri for uri in files.src_uris) + 1}.png"
        uri = (path.parent / name).relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, content=base64.b64decode(match[2])))
        return f'{match[1]}="{name}"'

    page = re.sub(r'(src|href)="data:image/png;base64,([^"]+)"', kept, output.data["text/html"])
    return f'<div class="output">\n{page}\n</div>\n'


# -- What is ---------------------------------------------------------------------------------------


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    markdown = students.page(uri, markdown)
    if uri.startswith(PORTUGUESE):
        name, other = "English", "../" + uri.removeprefix(PORTUGUESE)
    else:
        name, other = "Português", "pt-BR/" + uri.removeprefix("lab_guide/")
    if uri.startswith("lab_guide/") and files.get_file_from_path(
        posixpath.normpath(posixpath.join(posixpath.dirname(uri), other))
    ):
        markdown = re.sub(
            r"^(# .*)$",
            lambda title: f"{title[1]}\n\n[{name}]({other}){{.language}}\n",
            markdown,
            count=1,
            flags=re.M,
        )
    if uri == "lab_guide/requirements.md":  # its words are those of the protocol, found there first
        page.meta["search"] = {"boost": 0.1}
    if uri == "lab_guide/protocol.md":  # the anchor of each rule leads to what checks it
        markdown = requirements.ANCHOR.sub(
            r'<a class="rule" id="\1" href="requirements.html#\1" aria-label="rule \1"></a>',
            markdown,
        )
    return as_python_markdown(markdown).replace(side_by_side.PLACE, side_by_side.table())


def as_python_markdown(text):
    """Where Python-Markdown does not read what GitHub does: lists that are indented by less than
    four, or follow a paragraph without a blank line; bars in a table's code; details; dialogues.
    """
    lines, items, begins, tables = text.split("\n"), {}, set(), set()
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "list_item_open":
            for line in range(*token.map):
                items.setdefault(line, []).append(token.map[0])
        elif (
            token.type in ("bullet_list_open", "ordered_list_open", "table_open", "blockquote_open")
            and token.level == 0
        ):
            begins.add(token.map[0])
        if token.type == "table_open":
            tables.update(range(*token.map))
    columns, made = {}, []
    for number, line in enumerate(lines):
        around = items.get(number, [])
        if number in around and (mark := ITEM.match(line)):
            columns[number] = mark.end()
            before = (items.get(number - 1) or [number])[-1]
            if "" in map(
                str.strip, lines[before:number]
            ):  # the item before has paragraphs: only a blank line ends its last
                begins.add(number)
            line = " " * 4 * (len(around) - 1) + line.lstrip()
        elif around and around[-1] in columns and line.strip():
            strip = min(columns[around[-1]], len(line) - len(line.lstrip()))
            line = " " * 4 * len(around) + line[strip:]
        if number in tables:
            line = re.sub(r"`[^`]+`", lambda code: code[0].replace(r"\|", "|"), line)
        if number in begins and made and made[-1].strip():
            made.append("")
        made.append(line)
    text = "\n".join(made)
    text = re.sub(r"^( *)<details( open)?>", r"\1<details markdown\2>", text, flags=re.M)
    return re.sub(
        r"^( *```)dialogue *(.*)$",
        lambda found: found[1] + "text" + f' title="{found[2]}"' * bool(found[2]),
        text,
        flags=re.M,
    )


def on_page_context(context, page, config, nav):
    config.theme["language"] = "pt-BR" if page.file.src_uri.startswith(PORTUGUESE) else "en"
    return context
