"""The guide as a site: it builds, every link in it leads somewhere, it needs no network, and it
shows what GitHub shows.
"""

import base64
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from markdown import Markdown
from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin
from mkdocs.config import load_config
from nbformat import read

from harness.driving.server import ROOT
from harness.verdicts.sentences import CAUSES
from lab_guide.site import side_by_side
from tests.conftest import browser

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("test_guide_site"),
]  # one worker makes once what they all look at
ROOT = Path(ROOT)
GUIDE = [
    ROOT / "lab_guide" / "protocol.md",
    *(path for path in sorted(ROOT.glob("lab_guide/*.md")) if path.stem != "protocol"),
    *sorted(ROOT.glob("lab_guide/pt-BR/*.md")),
]
NOTEBOOKS = [
    *sorted(ROOT.glob("notebooks/[0-9]*.ipynb")),
    *sorted(ROOT.glob("notebooks/pt-BR/[0-9]*.ipynb")),
]
LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "embed": "src",
}


def built(path):
    """Where the page of a file of the repository is in the site."""
    return (
        path.relative_to(ROOT / "lab_guide" if path.suffix == ".md" else ROOT)
        .with_suffix(".html")
        .as_posix()
    )


class Read(HTMLParser):
    """What is in some HTML: ids, links, what is loaded, how many of each tag, and the texts of the
    elements in `wanted`.
    """

    def __init__(self, text, wanted=()):
        super().__init__()
        self.ids, self.links, self.loaded, self.tags, self.open = set(), [], [], [], []
        self.texts = {tag: [] for tag in wanted}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.update(filter(None, (attributes.get("id"), attributes.get("name"))))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(LOADED.get(tag)):
            self.loaded.append(attributes[LOADED[tag]])
        if tag in self.texts:
            self.texts[tag].append("")
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data


def build(folder, **env):
    """Has MkDocs make the site in this folder."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        ROOT / "lab_guide" / "mkdocs.yml",
        "--site-dir",
        folder,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", **env},
        timeout=240,
    )
    assert not done.returncode, done.stderr
    return folder


def pages_of(site):
    """What is in each page: {its path: Read}."""
    return {
        path.relative_to(site).as_posix(): Read(path.read_text()) for path in site.rglob("*.html")
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site):
    return pages_of(site)


@pytest.fixture(scope="module")
def student_site(tmp_path_factory):
    """That of `make guide STUDENT=1`."""
    return build(tmp_path_factory.mktemp("student"), GRUPO_STUDENT="1")


# -- All of it is there ----------------------------------------------------------------------------


def test_each_page_is_there_and_in_the_navigation(pages):
    wanted = {built(path) for path in GUIDE + NOTEBOOKS}
    assert len(NOTEBOOKS) == 2 * 11 and wanted <= set(pages)  # each in two languages
    assert wanted - {"protocol.html"} <= set(pages["protocol.html"].links)


def dead_links(site, pages):
    amiss = []
    for page, found in pages.items():
        for link in found.links + found.loaded:
            scheme, host, path, _, anchor = urlsplit(link)
            if scheme or host:
                continue
            to = (
                (
                    site / path.lstrip("/")
                    if page == "404.html"
                    else (site / page).parent / unquote(path)
                ).resolve()
                if path
                else site / page
            )
            name = (
                to.relative_to(site.resolve()).as_posix()
                if to.is_relative_to(site.resolve())
                else None
            )
            if not name or not to.exists():
                amiss.append(f"{page}: {link}")
            elif anchor and name in pages and unquote(anchor) not in pages[name].ids:
                amiss.append(f"{page}: {link}: no such heading")
    return amiss


def test_every_link_leads_somewhere(site, pages):
    amiss = dead_links(site, pages)
    assert len(pages) > 10 and not amiss, "\n".join(amiss)


def test_students_get_no_answers(student_site):
    """No exam, no pages for teachers, no solutions, and of a bug no more than its symptom."""
    pages = pages_of(student_site)
    amiss = dead_links(student_site, pages)
    assert not amiss, "\n".join(amiss)
    assert {f"lab{lab}.html" for lab in range(9)} | {"pt-BR/lab0.html"} <= set(pages)
    names = ("instructor", "grading", "exam", "side-by-side", "exhibits/", "tests/")
    left_out = [name for name in pages if name.removeprefix("pt-BR/").startswith(names)]
    assert not left_out + [name for name in pages if re.search(r"implementations/.*\.py", name)]
    found = (student_site / "search" / "search_index.json").read_text()
    for page in "exhibits.html", "pt-BR/exhibits.html", "requirements.html":
        found += (student_site / page).read_text()
    for path in ROOT.glob("lab_guide/exhibits/*.toml"):
        assert f"{path.stem}.toml" not in found
    exhibits = pages_of(student_site)["exhibits.html"]
    assert exhibits.tags.count("td") == 3 * len(list(ROOT.glob("lab_guide/exhibits/*.toml")))
    questions = re.findall(r"^## \d+\. (.+)", (ROOT / "lab_guide/exam.md").read_text(), re.M)
    assert len(questions) > 5 and not [title for title in questions if title in found]


def test_where_a_verdict_says_to_read_there_is_something_to_read(pages):
    for page, anchor in {tuple(page.split("#")) for _, page in CAUSES.values()}:
        assert anchor in pages[built(ROOT / "lab_guide" / page)].ids, f"{page}#{anchor}"


def test_a_notebooks_pictures_are_in_it(site, pages):
    drawn = 0
    for path in NOTEBOOKS:
        outputs = [
            output.get("data", {}).get("text/html", "")
            for cell in read(path, as_version=4).cells
            for output in cell.get("outputs", [])
        ]
        pictures = [
            base64.b64decode(picture)
            for picture in re.findall(r'base64,([^"]+)"', "".join(outputs))
        ]
        files = [
            site / path.parent.relative_to(ROOT) / name
            for name in [*pages[built(path)].loaded, *pages[built(path)].links]
            if name.startswith(path.stem) and name.endswith(".png")
        ]
        assert [file.read_bytes() for file in files] == pictures, path.name
        drawn += len(pictures)
        figures = "".join(outputs).count('<figure class="grupo-figure"')
        assert built(path) in pages and figures + len(pictures) > 0, path.name
        assert pages[built(path)].tags.count("figure") >= figures, path.name
    assert drawn > 5


def test_the_search_knows_each_page(site):
    index = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for path in GUIDE + NOTEBOOKS:
        known = " ".join(
            entry["title"] + " " + entry["text"]
            for entry in index
            if entry["location"].split("#")[0] == built(path)
        )
        cells = read(path, as_version=4).cells if path.suffix == ".ipynb" else []
        said = (
            "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
            or path.read_text()
        )
        prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>", " ", said, flags=re.S)
        assert max(re.findall(r"[^\W\d_]+", prose), key=len) in known, path
    assert not [entry for entry in index if ".py" in entry["location"]]


# -- It is what GitHub shows -----------------------------------------------------------------------


def assert_alike(markdown, html):
    """The same headings, code, cells of tables and number of items, as a reader of Markdown of
    GitHub's kind finds.
    """
    tags = "h1", "h2", "h3", "h4", "pre", "td"
    theirs = Read(
        MarkdownIt().enable(["table", "strikethrough"]).use(footnote_plugin).render(markdown), tags
    )
    ours = Read(re.sub("&para;|¶", "", html), tags)
    for tag in tags:
        tell = (
            (lambda text: text.rstrip("\n"))
            if tag == "pre"
            else (lambda text: "".join(text.split()))
        )
        assert list(map(tell, ours.texts[tag])) == list(map(tell, theirs.texts[tag])), tag
    assert ours.tags.count("li") == theirs.tags.count("li")


@pytest.mark.parametrize(
    "path", GUIDE, ids=lambda path: path.relative_to(ROOT / "lab_guide").as_posix()
)
def test_it_shows_what_github_shows(path, site):
    article = re.search(r"<article.*?</article>", (site / built(path)).read_text(), re.S)[0]
    if side_by_side.PLACE in path.read_text():  # what the site alone shows there
        article = article.replace(
            re.search(r'<div>\s*<h2 id="__init__">.*</section>\s*</div>\s*</div>', article, re.S)[
                0
            ],
            "",
        )
    assert_alike(re.sub(r"\A---\n.*?\n---\n", "", path.read_text(), flags=re.S), article)


AWKWARD = """
A list right after a paragraph:
- one
  - nested
  - nested, too

    of two paragraphs
- two
  which goes on
  * three
10. ten:
    ```sh
    make demo
        # indented
    ```
11. eleven

    | a | b |
    |---|---|
    | `x \\| y` | 2 |

    and then
12. twelve

1. Do this:

   ```dialogue admit=all
   ana< HELLO
   ```

   and this
2. and that

Then a table:
| a | b |
|---|---|
| `x \\| y` | `z` |

<details>
<summary>Hint</summary>

- inside

```python
x = 1
```

</details>
"""


def test_markdown_that_python_markdown_would_read_otherwise():
    config = load_config(str(ROOT / "lab_guide" / "mkdocs.yml"))
    ours = config.plugins.on_page_markdown(
        AWKWARD,
        page=SimpleNamespace(file=SimpleNamespace(src_uri="a.md")),
        config=config,
        files=None,
    )
    html = Markdown(
        extensions=config.markdown_extensions, extension_configs=config.mdx_configs
    ).convert(ours)
    assert_alike(AWKWARD, html)


# -- Without a network -----------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere(site, pages):
    amiss = [
        f"{page}: {what}"
        for page, found in pages.items()
        for what in found.loaded
        if re.match(r"(https?:)?//", what)
    ]
    for path in site.rglob("*.css"):
        amiss += re.findall(
            r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]*)", path.read_text()
        )
    assert not amiss


@pytest.fixture(params=["file", "http"])
def address(request, site):
    if request.param == "file":
        yield site.as_uri()
        return

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_is_content(address):
    from playwright.sync_api import sync_playwright

    complaints, shown = [], [*map(built, [*GUIDE[:2], *GUIDE[-1:]]), built(NOTEBOOKS[3])]
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = chromium.new_page()
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:"))
                or complaints.append(request.url)
            ),
        )
        page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning") and complaints.append(message.text)
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for name in shown:
            page.goto(f"{address}/{name}")
            page.wait_for_load_state("networkidle")
            assert page.locator("h1").count() == 1
        assert page.eval_on_selector_all(
            "article figure",
            "all => all.length && all.every(one => one.getBoundingClientRect().width > 300)",
        )
        page.locator(".md-search__input").click()
        page.wait_for_selector(
            ".md-search--ready, .md-search-result__meta:has-text('Type')", state="attached"
        )
        page.locator(".md-search__input").press_sequentially("silent clients")
        page.wait_for_selector(
            ".md-search-result__link[href*='silent+clients']", timeout=20_000
        )  # not yet what `s` finds
        assert "protocol.html" in page.locator(".md-search-result__link").first.get_attribute(
            "href"
        )
        chromium.close()
    assert not complaints
