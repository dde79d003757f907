"""The language in which students read what `check` found. All that is kept, in records and in --json, is English; only what is shown is
translated, whole texts by say(), and of what a server wrote nothing: of a text that was put together, the holes of its template stay as they are.

`python -m harness.verdicts.language` brings the catalogue up to date with the sources, and prints what has no translation in it.
"""
import ast
import functools
import itertools
import os
import re
import string
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CATALOGUE = HERE / "locale" / "pt_BR" / "LC_MESSAGES" / "grupo.po"
LANGUAGES = "en", "pt-BR"
HOLDS = {"who": r"(\S+)", "name": r"(\S+)", "line": r"([^\n]*)"}     # what a hole of this name holds; of others their place decides
# Holes that hold another text of ours.
OURS = {"came", "disturbed", "words", "why", "how", "kind", "slowness", "role", "what", "WAYS"}
LONGEST = 1000                                      # characters of a line of ours: what is longer, a server may have made to keep us busy
IN_A_LINE = "line"                                  # context of texts that stand alone in a line, among lines of others

in_use = "en"


def use(language):
    """From now on say() speaks it."""
    global in_use
    in_use = language
    found.cache_clear()


def language_of(environment):
    """One of LANGUAGES, as gettext chooses: LC_ALL, LC_MESSAGES or LANG is the locale; LANGUAGE lists what is preferred, unless that is C."""
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "C")
    if re.split(r"[.@]", locale)[0] in ("C", "POSIX"):
        return "en"
    for wanted in [*environment.get("LANGUAGE", "").split(":"), locale]:
        if language := {"pt": "pt-BR", "en": "en"}.get(re.split(r"[_.@-]", wanted.lower())[0]):
            return language
    return "en"


def choose(asked=None):
    """From now on say() speaks what is asked for, else what the locale says."""
    use(asked or language_of(os.environ))


def say(text):
    """This English text in the language in use."""
    return text if in_use == "en" else in_language(text)


def in_language(text):
    whole = max(map(len, text.split("\n"))) <= 2 * LONGEST and (found(text, None) or listed(text))
    return whole or "\n".join(map(line_said, text.split("\n")))


def line_said(line):
    """One line, which may be a server's: only what is a line of ours is translated, whatever it is indented by."""
    bare = line.lstrip(" ")
    said = found(bare, IN_A_LINE) if len(bare) <= LONGEST else None
    return line if said is None else line[:len(line) - len(bare)] + said


def listed(text):
    """Several texts of ours in a row, as notes and disturbances are told; None if they are none."""
    if "\n" not in text:
        for mark in re.finditer("[;,] ", text):
            first, rest = found(text[:mark.start()], None), text[mark.end():]
            if first is not None and (rest := found(rest, None) or listed(rest)) is not None:
                return first + mark[0] + rest
    return None


@functools.cache
def found(text, context):
    """The translation of a whole text; None if there is none."""
    plain, templates = catalogue()
    if (context, text) in plain:
        return plain[context, text]
    for of, pattern, names, translation in templates:
        if of == context and (match := pattern.fullmatch(text)):
            return translation.format(**{name: part_said(name, match[place], context) for place, name in enumerate(names, 1)})
    return None


def part_said(name, part, context):
    """What stood in a hole: in a line of ours, only what is ours is translated; elsewhere its lines may be ours."""
    if name.rstrip(string.digits) in OURS or context != IN_A_LINE and part == "owner":
        return in_language(part)
    return part if context == IN_A_LINE else "\n".join(map(line_said, part.split("\n")))


@functools.cache
def catalogue():
    """({(context, text): translation}, [(context, pattern, names of its holes, translation)]), the most telling templates first."""
    plain, templates = {}, []
    for message in sorted(read(), key=lambda message: -len(re.sub("{.*?}", "", message.id))):
        if message.id and message.string:
            if names := holes(message.id):
                templates.append((message.context, pattern_of(message.id), names, message.string))
            else:
                plain[message.context, message.id.format()] = message.string.format()
    return plain, templates


def read():
    from babel.messages.pofile import read_po       # not needed for English
    with open(CATALOGUE, "rb") as file:
        return read_po(file, locale="pt_BR")


def holes(template):
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def pattern_of(template):
    """A hole holds whole lines, where it has them for itself or stands at the end; else a part of one line."""
    pieces = list(string.Formatter().parse(template))
    pattern = ""
    for place, (literal, name, _, _) in enumerate(pieces):
        pattern += re.escape(literal)
        following = pieces[place + 1][0] if place + 1 < len(pieces) else ""
        alone = (literal.endswith("\n") or not place and not literal) and following.startswith("\n") or not following
        if name:
            pattern += HOLDS.get(name.rstrip(string.digits)) or ("(.*?)" if alone else r"([^\n]*?)")
    return re.compile(pattern, re.DOTALL)


# -- From the sources to the catalogue -----------------------------------------------------------------------------------------------

SOURCES = ["harness/" + name for name in (
    *(f"driving/{name}.py" for name in ("record", "client", "server", "terminals", "crowd", "processes", "compiled", "history", "deadlines")), "checks/lines.py",
    "teaching/starter.py", "teaching/lab.py", "teaching/hunt.py", "teaching/exhibits.py", "verdicts/model.py", "verdicts/plugin.py", "verdicts/sentences.py", "verdicts/causes.py", "verdicts/disturb.py",
    "verdicts/pool.py", "verdicts/pace.py", "verdicts/slices.py", "verdicts/command.py", "verdicts/catalogue.py", "checks/*.py", "verdicts/formats/*.py")]
# Functions, and which of their arguments students read.
SINKS = {"Misuse": (0,), "Refused": (0,), "Unmet": (0, 1), "NotStarted": (0, 1), "Silence": (0, 1), "CutOff": (0, 1), "NotRun": (0, "why"), "Inconclusive": (0,), "wait_until": (2, "what"),
         "none_left": (1,), "until": (2, "what"), "problem": (0,), "Disturbance": (0,), "say": (0,), "Report": (5,), "Failure": (3, 6),
         "Verdict": ("why",), "notes.append": (0,), "broken.append": (0,), "lacking.append": (0,), "why.append": (0,),
         "rejected": (2,), "turned_away": (3,),
         "Result": (1, "why"), "let_in_again": (1,), "not_before": (2,)}
LINE_SINKS = {"lines.append": (0,), "came.append": (0,), "NotCompiled": (0,)}
TELL = {"end_of", "excess", "shown", "told_growth"}                        # functions whose text becomes part of another
RETURNS = {"end_of", "why_no_shim", "shim", "short_turns", "not_seen", "not_its_fault", "judged", "forced",
           "slowness", "no_answer", "with_exception", "with_signal", "taken_again", "held"}     # whose text is one by itself
LINES = {"short", "tail", "clipped", "all_send", "all_connect", "difference", "told_end", "folded", "middle_left_out"}   # whose texts are lines among others
# Names of what holds texts.
TABLES = {"VERDICTS", "STAGES", "DEEDS", "SEEN", "STARVED", "forms", "WAYS", "NO_LIFE",
          "SIGNS_OF_LIFE", "sending"}
NO_PROTOCOL = r"(event|\{\w+\}: mode) "                    # how the lines of ours begin that are compared with what came


class Hole(str):
    """In a form of a text, what differs; its name."""


class Module:
    """One file of the sources, and what can be said of the values in it without running it. A form of a text is a list of texts and Holes."""

    def __init__(self, path, functions):
        self.path, self.tree, self.functions = path, ast.parse(path.read_text(encoding="utf-8")), functions
        self.under_way = set()              # names whose values are being looked at: one may be made of itself
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                functions.setdefault(node.name, []).append((self, node))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                functions.setdefault(node.targets[0].id, []).append((self, node.value))

    def assigned(self, name):
        """[(values, more)]: what is assigned to this name in the functions around it, or in the module, and what is added to it there."""
        node, scopes = name, []
        while node := self.parents.get(node):
            if isinstance(node, (ast.FunctionDef, ast.Module)):
                scopes.append(node)
        for scope in scopes:
            values, more = [], []
            for node in ast.walk(scope):
                if isinstance(node, ast.AugAssign) and getattr(node.target, "id", None) == name.id:
                    more.append(node.value)
                elif isinstance(node, (ast.Assign, ast.NamedExpr)):
                    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                        values += taken(target, node.value, name.id)
            if values:
                return values, more
            if isinstance(scope, ast.FunctionDef) and name.id in {arg.arg for arg in (*scope.args.args, *scope.args.kwonlyargs)}:
                break
        return [], []

    def called(self, call):
        """[(module, returned value)] of the functions that this may call: those of this module if there are any."""
        known = self.functions.get(name_of(call.func), [])
        for module, function in [pair for pair in known if pair[0] is self] or known:
            if isinstance(function, ast.Lambda):
                yield module, function.body
            else:
                yield from ((module, node.value) for node in ast.walk(function) if isinstance(node, ast.Return) and node.value)

    def forms(self, node):
        """All forms that the text of this expression may take."""
        match node:
            case ast.Constant(value=str(text)):
                return [[text]]
            case ast.JoinedStr():
                return product(map(self.forms, node.values))
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None) if telling(inner := self.forms(value)):
                return inner
            case ast.FormattedValue(value=value):
                return [[Hole(name_of(value))]]
            case ast.BinOp(op=ast.Add()):
                return product([self.forms(node.left), self.forms(node.right)])
            case ast.IfExp():
                return self.forms(node.body) + self.forms(node.orelse)
            case ast.BoolOp(op=ast.Or()):
                return [form for value in node.values for form in self.forms(value)]
            case ast.BoolOp():
                return self.forms(node.values[-1]) + [[""]]
            case ast.NamedExpr():
                return self.forms(node.value)
            case ast.Name():
                if node.id in self.under_way:
                    return [[Hole(node.id)]]
                self.under_way.add(node.id)
                inner = [form for value in self.assigned(node)[0] for form in self.forms(value)]
                self.under_way.remove(node.id)
                return inner if telling(inner) else [[Hole(node.id)]]
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(between)), attr="join"), args=[what]):
                return self.joined(between, what)
            case ast.Call(func=ast.Name(id="as_text"), args=[what]):
                return self.joined("\n", what)
            case ast.Call(func=ast.Name(id="clipped"), args=[what, _]):
                return self.forms(what)
            case ast.Call() if name_of(node.func) in TELL:
                return [form for module, value in self.called(node) for form in module.forms(value)]
        return [[Hole(name_of(node))]]

    def joined(self, between, what):
        return [list(itertools.chain(*(([between] if place else []) + form for place, form in enumerate(items))))
                for items in self.items(what, between)]

    def items(self, node, between="\n"):
        """All sequences of forms that this list may be; of one that goes through others, one Hole, or some if a word stands between them."""
        match node:
            case ast.List() | ast.Tuple():
                return [list(itertools.chain(*parts)) for parts in itertools.product(*(
                    self.items(one.value) if isinstance(one, ast.Starred) else [[form] for form in self.forms(one)] for one in node.elts))]
            case ast.IfExp():
                return self.items(node.body) + self.items(node.orelse)
            case ast.BoolOp():
                return [items for value in node.values for items in self.items(value)]
            case ast.Name() if (found := self.assigned(node))[0]:
                values, more = found
                start = [items for value in values for items in self.items(value, between)]
                start = [items or [[Hole(node.id)]] for items in start]             # an empty one is filled elsewhere
                added = [[[], *self.items(value)] if isinstance(value, (ast.List, ast.IfExp)) else [[]] for value in more]
                return [list(itertools.chain(*parts)) for parts in itertools.product(start, *added)]
        many = 4 if re.search("[a-z]", between) else 2
        return [[[Hole(name_of(node))]] * count for count in range(1, many)]

    def lines(self, node):
        """The forms of the lines of which this list is made."""
        match node:
            case ast.ListComp() | ast.GeneratorExp():
                return self.forms(node.elt)
            case ast.List():
                return [form for one in node.elts for form in (self.lines(one.value) if isinstance(one, ast.Starred) else self.forms(one))]
            case ast.IfExp():
                return self.lines(node.body) + self.lines(node.orelse)
            case ast.Lambda():
                return self.lines(node.body)
            case ast.Name():
                return [form for value in self.assigned(node)[0] for form in self.lines(value)] + [
                    form for module, value in self.called(ast.Call(node, [], [])) for form in module.lines(value)]
            case ast.Call(func=ast.Name() | ast.Attribute()) if name_of(node.func) in self.functions:
                return [form for module, value in self.called(node) for form in module.lines(value)]
        return []

    def texts(self):
        """(context, form) of every text in this file that students read, in the order of the file."""
        docstrings = {node.body[0].value for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)}
        for node in ast.walk(self.tree):
            match node:
                case ast.FunctionDef() if node.name.startswith("check_") and self.path.stem.startswith("check_"):
                    yield None, [" ".join(ast.get_docstring(node).split())]
                case ast.FunctionDef() if node.name in RETURNS | TELL | LINES:
                    for part in ast.walk(node):
                        if node.name in LINES and isinstance(part, (ast.JoinedStr, ast.Constant)) and part not in docstrings and \
                                not isinstance(self.parents[part], (ast.JoinedStr, ast.FormattedValue, ast.Call)):
                            yield from ((IN_A_LINE, form) for form in self.forms(part))
                        elif node.name in RETURNS and isinstance(part, ast.Return) and part.value:
                            for value in part.value.elts if isinstance(part.value, ast.Tuple) else [part.value]:
                                yield from ((None, form) for form in self.forms(value))
                case ast.Assign(value=value) if names := TABLES & {target.id for target in node.targets if isinstance(target, ast.Name)}:
                    texts = (value.elts if isinstance(value, (ast.Tuple, ast.Set)) else [value] if not isinstance(value, ast.Dict) else
                             value.values if names & {"DEEDS", "WAYS"} else value.keys)
                    for text in (text.value for text in texts if isinstance(text, ast.Constant)):
                        yield None, of_template(text)
                        if "VERDICTS" in names:
                            yield None, [Hole("count"), f" {text}"]         # in the summary
                case ast.Assign(targets=[ast.Attribute(attr="expected" | "came")]):
                    yield from ((None, form) for form in self.forms(node.value))
                case ast.AugAssign(target=ast.Attribute(attr="came")):
                    yield from ((None, [Hole("came"), *form]) for form in self.forms(node.value))
                case ast.ClassDef(name="Holdings"):
                    yield from ((None, [field.target.id]) for field in node.body if isinstance(field, ast.AnnAssign))
                case ast.Assign(targets=[ast.Name(id="CAUSES")], value=ast.Dict(values=values)):
                    yield from ((None, [value.elts[0].value]) for value in values)
                case ast.Call():
                    name = name_of(node.func)
                    if isinstance(node.func, ast.Attribute) and name in ("append", "add"):
                        name = f"{name_of(node.func.value)}.{name}"
                    for context, sinks in (None, SINKS), (IN_A_LINE, LINE_SINKS):
                        for argument in arguments(node, sinks.get(name, ())):
                            yield from ((context, form) for form in self.forms(argument))
                            for part in ast.walk(argument):
                                if isinstance(part, ast.Call) and name_of(part.func) == "join":
                                    yield from ((IN_A_LINE, form) for form in self.generated(part.args[0]))
                    if name == "record.add" and is_told(node.args):
                        yield from ((IN_A_LINE, form) for form in self.forms(node.args[2]))
                    if name == "none_left":
                        yield from ((IN_A_LINE, form) for form in self.lines(node.args[0]))
                    if name == "same":              # what is compared is the protocol's, but for these
                        yield from ((IN_A_LINE, form) for argument in node.args[:2] for form in self.generated(argument)
                                    if re.match(NO_PROTOCOL, template(form)))

    def generated(self, node):
        """The forms of lines that go through something."""
        match node:
            case ast.ListComp(elt=ast.JoinedStr()) | ast.GeneratorExp(elt=ast.JoinedStr()):
                return self.forms(node.elt)
            case ast.List():
                return [form for one in node.elts if isinstance(one, ast.Starred) for form in self.generated(one.value)]
            case ast.IfExp():
                return self.generated(node.body) + self.generated(node.orelse)
            case ast.Name():
                return [form for value in self.assigned(node)[0] for form in self.generated(value)]
        return []


def taken(target, value, name):
    """What `name` is given where `value` is assigned to `target`."""
    if isinstance(value, ast.IfExp) and isinstance(target, ast.Tuple):
        return taken(target, value.body, name) + taken(target, value.orelse, name)
    if isinstance(target, ast.Name):
        return [value] if target.id == name else []
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return [one for pair in zip(target.elts, value.elts) for one in taken(*pair, name)]
    return [target] if isinstance(target, ast.Tuple) and name in {one.id for one in target.elts if isinstance(one, ast.Name)} else []


def arguments(call, places):
    for place in places:
        if isinstance(place, int) and place < len(call.args):
            yield call.args[place]
    yield from (word.value for word in call.keywords if word.arg in places)


def is_told(arguments):
    """Whether record.add(*arguments) adds a deed that the check tells in its own words."""
    match arguments:
        case [_, _, ast.Constant(value=str(text))]:
            return " " in text
        case [_, ast.Constant(value="signal"), ast.JoinedStr()]:
            return True
    return False


def name_of(node):
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=ast.Name(id="len")):
            return "count"
        case ast.Call(func=node) | ast.Subscript(value=node) | ast.Starred(value=node) | ast.BinOp(left=node) | ast.NamedExpr(target=node):
            return name_of(node)
    return "text"


def product(parts):
    return [list(itertools.chain(*form)) for form in itertools.product(*parts)]


def telling(forms):
    return any(re.search(r"[^\W\d_]", part) for form in forms for part in form if not isinstance(part, Hole))


def of_template(text):
    """DEEDS holds templates already."""
    return list(itertools.chain(*([literal, *([Hole(name)] if name else [])] for literal, name, _, _ in string.Formatter().parse(text))))


def template(form):
    """The id of a message: holes that touch are one, and each has a name of its own."""
    text, names, before = "", [], None
    for part in filter(None, form):
        if isinstance(part, Hole):
            if not isinstance(before, Hole):
                names.append(part)
                text += f"{{{part}{names.count(part) if names.count(part) > 1 else ''}}}"
        else:
            text += part.replace("{", "{{").replace("}", "}}")
        before = part
    return text


def messages():
    """{(context, id): where} of all texts that students read, in the order of the sources."""
    functions, found = {}, {}
    for module in [Module(path, functions) for pattern in SOURCES for path in sorted(ROOT.glob(pattern))]:
        for context, form in module.texts():
            for text in template(form).split("\n") if context == IN_A_LINE else [template(form)]:
                if re.search(r"[^\W\d_]", re.sub("{.*?}", "", text)):
                    found.setdefault((context, text), str(module.path.relative_to(ROOT)))
    for path in sorted((ROOT / "lab_guide").glob("*/*.toml")):
        known = tomllib.loads(path.read_text(encoding="utf-8"))
        found.setdefault((None, known.get("symptom") or known["title"]), str(path.relative_to(ROOT)))
    return found


def main():
    """Exit status 1 if something has no translation."""
    from babel.messages import Catalog
    from babel.messages.pofile import write_po
    catalogue, lacking = read(), 0
    old = {(message.context, message.id): message.string for message in catalogue}
    new = Catalog("pt_BR", header_comment="# What students read of Grupo's check, in Brazilian Portuguese.", project="Grupo", version="1",
                  fuzzy=False, last_translator="Grupo", language_team="pt_BR",
                  creation_date=catalogue.creation_date, revision_date=catalogue.creation_date)
    for (context, text), where in messages().items():
        new.add(text, old.get((context, text)) or "", context=context, locations=[(where, None)])
        if not old.get((context, text)):
            lacking += 1
            print(f"{where}: {text!r}")
    with open(CATALOGUE, "wb") as file:
        write_po(file, new, width=150)
    return int(lacking > 0)


if __name__ == "__main__":
    sys.exit(main())
