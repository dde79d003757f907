"""The member's window: python -m implementations.windows.member [HOST:PORT] [NAME].

The Conversation of the client thinks, a Link puts it on the network, and the window shows what came and says what is typed.
"""
import argparse
import asyncio
import sys
from collections import deque
from itertools import compress
from random import random
from time import monotonic

from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Footer, Input, OptionList
from textual.widgets.option_list import Option

from ..client.__main__ import argument
from ..client.connection import TICK, check_name, check_password, check_place, explain, local_time, resolve
from ..client.conversation import Conversation
from ..client.groups import GROUPS, Groups, Trouble
from ..common import wire
from .link import Link
from .parts import Form, Question, Room, Window, Words, YesNo, words
from .talk import Line, Talk

CONTEXT = 100       # events before the first new one that are shown again
FORMS = {"IN": "{who} came", "OUT": "{who} went", "LEFT": "{who} left for good", "BANNED": "{who} was banned",
         "RENAMED": "{who} is now {text}", "GROUP": "the group is {text}", "note": "{text}"}
KEYS = "rename", "leave", "part", "come", "groups", "escape"
OUT = {"banned": "Only the owner can let you ask again.", "replaced": "Two windows cannot be in with one name.",
       "left": "You may ask to join again.", "deleted": "There is nothing to come back to."}


class Door(Form):
    """The groups one belongs to, and the way in."""

    BINDINGS = [Binding("escape", "app.quit", "Quit", show=False)]
    CSS = "Door OptionList { height: auto; max-height: 8; margin-bottom: 1; }"

    def __init__(self, place, name, groups):
        super().__init__()
        self.place, self.called, self.groups = place, name, groups
        self.known = []

    def compose(self):
        with VerticalScroll(id="box", can_focus=False):
            yield Words("Grupo: come into a group", id="title")
            yield OptionList(id="groups", markup=False, compact=True)
            for label, field in ("Address", "place"), ("Your name", "name"), ("Password", "password"):
                with Horizontal(classes="field"):
                    yield Words(label)
                    yield Input(id=field, password=field == "password", compact=True)
            yield Button("Join", id="join", variant="primary", compact=True)
            yield Words(id="trouble")
        yield Footer()

    def on_mount(self):
        self.fill(self.place or "127.0.0.1:7000", self.called)

    def on_screen_resume(self):
        self.list_groups()

    def list_groups(self):
        listed = self.query_one(OptionList)
        try:
            self.known = self.groups.read()
        except (Trouble, OSError) as trouble:
            self.known = []
            self.say(explain(trouble))
        listed.set_options(Option(words((group.group, "bold"), f"  as {group.name}, at {group.address}")) for group in self.known)
        listed.display = bool(self.known)

    def fill(self, place, name):
        self.query_one("#place", Input).value, self.query_one("#name", Input).value = place, name
        self.query_one("#password", Input).value = ""
        self.query_one("#password" if place and name else "#name" if place else "#place").focus()

    def on_option_list_option_selected(self, event):
        group = self.known[event.option_index]
        self.fill(group.address, group.name)

    def on_button_pressed(self):
        self.join()

    def on_input_submitted(self, event):
        empty = [field for field in self.query(Input) if not field.value]
        if empty:
            empty[0].focus()
        else:
            self.join()

    def join(self):
        place, name, password = (self.query_one(f"#{field}", Input).value for field in ("place", "name", "password"))
        try:
            place, name = check_place(place.strip()), check_name(name.strip())
            check_password(password)
        except Trouble as trouble:
            return self.say(str(trouble))
        self.say("")
        self.query_one("#password", Input).value = ""
        last = next((group.last for group in self.known if (group.address, group.name.casefold()) == (place, name.casefold())), None)
        self.app.push_screen(Chat(place, name, password, last, self.groups), lambda why: self.came_back(place, name, why))

    def came_back(self, place, name, why):
        self.fill(place, name)
        self.say(why)


class Saying(Input):
    """Where one types: Tab completes a name, and many lines are not said by one paste too many."""

    BINDINGS = [Binding("tab", "complete", show=False)]

    def __init__(self, **options):
        super().__init__(placeholder="say something; /help tells more", compact=True, select_on_focus=False, **options)
        self.candidates, self.completed = [], None          # while Tab follows Tab; what the last one made

    async def _on_key(self, event):
        """Enter is taken here, in its turn: as a binding it would be later than letters that were typed after it."""
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.screen.entered(self.value):
                self.value = ""

    def _on_paste(self, event):
        lines = [line for line in event.text.splitlines() if line]
        if len(lines) > 1:
            event.stop()
            event.prevent_default()
            self.screen.pasted(lines)

    def action_complete(self):
        """The word before the cursor becomes a member's name; the next Tab, another one."""
        if (self.value, self.cursor_position) != self.completed:
            before = self.value[:self.cursor_position]
            self.start = before.rfind(" ") + 1
            typed, self.rest = before[self.start:], self.value[self.cursor_position:]
            self.candidates = deque(name for name in self.screen.names() if typed and name.casefold().startswith(typed.casefold()))
        if not self.candidates:
            return self.screen.focus_next() if not self.value else None
        name = self.candidates[0]
        self.candidates.rotate(-1)
        written = self.value[:self.start] + name + (" " if self.start else ": ")
        self.value, self.cursor_position = written + self.rest, len(written)
        self.completed = self.value, self.cursor_position


class Chat(Room):
    """One group: on the way in, in, and out again."""

    BINDINGS = [
        Binding("ctrl+n", "rename", "Name", priority=True),
        Binding("ctrl+d", "part", "Disconnect", priority=True),
        Binding("ctrl+r", "come", "Reconnect", priority=True),
        Binding("ctrl+l", "leave", "Leave", priority=True),
        Binding("ctrl+g", "groups", "Groups", priority=True),
        Binding("escape", "escape", "Give up"),
        Binding("pageup", "scroll(-1)", show=False, priority=True),
        Binding("pagedown", "scroll(1)", show=False, priority=True),
        Binding("ctrl+home", "scroll(-1000000)", show=False, priority=True),
        Binding("ctrl+end", "scroll(1000000)", show=False, priority=True),
    ]
    CSS = """
    Chat #title { height: 1; padding: 0 1; background: $primary; color: $text; }
    Chat #waiting { height: 1fr; align: center middle; }
    Chat #waiting Words { width: auto; max-width: 100%; text-align: center; padding: 1 3; border: round $primary; }
    Chat #room { height: 1fr; }
    Chat #people { width: 20; max-height: 100%; height: 1fr; border: none; border-left: solid $primary; background: $surface; }
    Chat #banner { background: $warning; color: black; padding: 0 1; text-style: bold; }
    Chat #status { height: 1; padding: 0 1; color: $text-muted; }
    Chat #say { height: 1; background: $boost; padding: 0 1; }
    Chat.-wide #people { width: 28; }
    Chat.-narrow #people, Chat.-low Footer { display: none; }
    Chat.-low #title, Chat.-low #status { display: none; }
    Chat.-low #waiting Words { border: none; padding: 0; }
    """

    def __init__(self, place, name, password, last, groups):
        super().__init__()
        self.place, self.password, self.groups = place, password, groups
        self.conversation = Conversation(name, password, last, chance=random, context=CONTEXT)
        self.link = None                # until the address is looked up
        self.last = last                # seq of the newest event seen before, None if this group is new to us
        self.old_up_to = None           # seq: what came before is no news; known when we are in
        self.is_marked = False          # the first news was
        self.here = {}                  # name: "here" or "away"
        self.asked = None               # the connection (its state "in") of which we asked WHO
        self.my_names = {name}
        self.speakers = deque(maxlen=50)        # names, the latest first
        self.keys = None                # which of KEYS do something, as the last row shows
        self.to_say = deque()           # lines that were entered, and wait for those before them

    def compose(self):
        yield Words(id="title")
        with Vertical(id="waiting"):
            yield Words(id="what")
        with Horizontal(id="room"):
            yield Talk(id="talk")
            yield OptionList(id="people", markup=False, compact=True)
        yield Words(id="banner")
        yield Words(id="status")
        yield Saying(id="say")
        yield Footer()

    def on_mount(self):
        self.talk, self.say = self.query_one(Talk), self.query_one(Saying)
        self.talk.can_focus = False     # the keys for it work everywhere
        self.talk.call_me(self.my_names)
        self.say.focus()
        self.show()
        self.set_interval(TICK, self.step)
        self.run_worker(self.set_out())

    async def set_out(self):
        """Looking up a name may take its time, and the window goes on meanwhile."""
        try:
            addresses = await asyncio.to_thread(resolve, self.place)
        except (Trouble, OSError) as trouble:
            return self.go(explain(trouble))
        self.link = Link(self.place, addresses, self.conversation, self.groups, self.show)
        self.step()

    def step(self):
        if self.link and self.is_attached:
            self.say_more()
            self.link.step()

    def on_unmount(self):
        """However this ends, what was seen is kept, and the server is not left with a silent line."""
        if self.link:
            self.conversation.quit(monotonic())
            self.link.turn()
            self.conversation.over(0, "")
            self.link.keep()
            self.link.hang_up()

    # -- What came -----------------------------------------------------------------------------------------------------------

    def show(self):
        if not self.is_attached:
            return
        conversation = self.conversation
        if conversation.state == "in" and self.asked is not conversation.order:
            self.asked, self.here = conversation.order, {}
            if self.old_up_to is None:
                seen = self.last is not None and self.last <= conversation.welcomed
                self.old_up_to = self.last if seen else conversation.welcomed
            conversation.request("WHO")
        shown = conversation.take()
        is_old = [0 < each.seq <= (self.old_up_to or 0) for each in shown]
        old, news = list(compress(shown, is_old)), [each for each, known in zip(shown, is_old) if not known]
        self.tell(old, unread=False)
        if not self.is_marked and any(each.seq for each in news):
            self.is_marked = True
            if self.last is not None and self.old_up_to == self.last:       # else all that came before us is old
                self.talk.set_mark()
        self.tell(news)
        if any(each.kind != "MSG" for each in shown):
            self.show_people()
        self.show_state()
        if self.link and (trouble := self.link.keep()):
            self.note(trouble)
        if conversation.state == "over" and not conversation.was_in:
            self.go(conversation.why)
        elif conversation.state == "over" and conversation.code == "left":
            self.go(f"You left {conversation.group}.")

    def tell(self, shown, unread=True):
        lines = []
        for each in shown:
            self.follow(each)
            time = local_time(each.time) if each.time else None
            if each.kind == "MSG":
                lines.append(Line("said", each.text, each.who, time, each.who in self.my_names))
            elif each.kind in FORMS:
                lines.append(Line("note", FORMS[each.kind].format(who=each.who, text=each.text), "", time))
        if lines:
            self.talk.add(lines, unread)

    def follow(self, each):
        """Keeps who is here, who spoke, and what we are called."""
        kind, who, text = each.kind, each.who, each.text
        if kind == "member":
            self.here[who] = text
        elif kind in ("IN", "OUT"):
            self.here[who] = "here" if kind == "IN" else "away"
        elif kind in ("LEFT", "BANNED"):
            self.here.pop(who, None)
        elif kind == "RENAMED":
            self.here[text] = self.here.pop(who, "here")
            self.speakers = deque((text if name == who else name for name in self.speakers), maxlen=50)
        elif kind == "MSG" and (not self.speakers or self.speakers[0] != who):
            if who in self.speakers:
                self.speakers.remove(who)
            self.speakers.appendleft(who)
        if self.conversation.name not in self.my_names:
            self.my_names.add(self.conversation.name)
            self.talk.call_me(self.my_names)

    def names(self):
        """To complete: the latest speakers first."""
        spoken = [name for name in self.speakers if name in self.here]
        return [name for name in [*spoken, *sorted(self.here.keys() - spoken, key=str.casefold)] if name not in self.my_names]

    def note(self, text):
        self.talk.add([Line("note", text)])

    # -- What is shown of it -------------------------------------------------------------------------------------------------

    def show_people(self):
        order = sorted(self.here, key=lambda name: (self.here[name] != "here", name.casefold()))
        self.query_one("#people", OptionList).set_options(
            Option(words(("● ", "green"), (name, "bold")) if self.here[name] == "here" else words((f"○ {name} (away)", "dim"))) for name in order)

    def show_state(self):
        conversation = self.conversation
        group = conversation.group or self.place
        here = sum(where == "here" for where in self.here.values())
        state = {"connecting": "connecting", "waiting": "waiting for the owner", "in": f"in, {here} here", "disconnected": "disconnected",
                 "over": "disconnected"}[conversation.state if self.link else "connecting"]
        self.query_one("#title", Words).say((group, "bold"), f"  {conversation.name}  {state}")
        was_in = conversation.was_in
        self.query_one("#waiting").display, self.query_one("#room").display = not was_in, was_in
        self.say.display = was_in
        self.query_one("#banner", Words).say(self.what_now() if was_in and conversation.state != "in" else "")
        if not was_in:
            self.query_one("#what", Words).say(self.what_now())
        below, waiting = self.talk.below, len(self.to_say)
        self.query_one("#status", Words).say(
            f"{waiting:,} lines are still to be said; Escape stops" if waiting else
            f"{below:,} lines below; Ctrl+End goes there" if below else " ")
        keys = [self.check_action(action, ()) for action in KEYS]
        if keys != self.keys:
            self.keys = keys
            self.refresh_bindings()

    def what_now(self):
        """The state, why, and what next, in words."""
        conversation = self.conversation
        if not self.link or conversation.state == "connecting":
            return f"Connecting to {self.place} ..."
        if conversation.state == "waiting" and not conversation.was_in:
            return f"You asked to join {conversation.group} as {conversation.name}.\n\nWaiting for the owner to let you in.\nEscape gives up."
        if conversation.state == "waiting":
            return "Coming back in ..."
        if conversation.state == "disconnected":
            seconds = max(0, round(conversation.retry_at - monotonic()))
            return f"Disconnected: {conversation.why}. Trying again in {seconds} s; Ctrl+R tries now."
        next_step = OUT.get(conversation.code, "Ctrl+R comes in again.")
        return f"Disconnected: {conversation.why or 'you went'}. {next_step} Ctrl+G: your groups."

    def check_action(self, action, parameters):
        state, was_in = self.conversation.state, self.conversation.was_in
        able = {"rename": state == "in", "leave": state == "in", "part": was_in and state != "over",
                "come": was_in and state in ("disconnected", "over"), "groups": was_in, "escape": not was_in or bool(self.to_say)}
        return able.get(action, True)

    # -- What is typed ---------------------------------------------------------------------------------------------------------

    def entered(self, text):
        """A line was typed; whether it is taken. Else it stays where it was typed, and one is told why."""
        if not text or self.conversation.state == "over":
            return False
        command, _, argument = text.partition(" ")
        text = text.replace("\t", " ")
        if command == "/leave":
            self.action_leave()
        elif command == "/name" and not argument.strip():
            self.action_rename()
        elif command == "/who":
            self.talk.add([Line("note", f"{name} {where}") for name, where in sorted(self.here.items())])
        elif text.startswith("/") and not text.startswith("//"):
            self.conversation.typed(text, monotonic())
        elif wire.is_text(text.removeprefix("/")):
            self.to_say.append(text.removeprefix("/"))
        else:
            self.conversation.say(text.removeprefix("/"))       # it says why it is not sent
            self.show()
            return False
        self.talk.unmark()
        self.talk.to_end()
        self.step()
        return True

    def say_more(self):
        while self.to_say and not self.conversation.is_busy and self.conversation.state != "over":
            self.conversation.say(self.to_say.popleft())

    def pasted(self, lines):
        lines = [line.replace("\t", " ") for line in lines]
        good = [line for line in lines if wire.is_text(line)]
        bad = len(lines) - len(good)
        why_not = f" {bad:,} of them cannot be said: over {wire.MAX_TEXT} bytes, or with characters that may not stand in a message." if bad else ""

        def answer(yes):
            if yes:
                self.to_say += good
                self.step()
        self.app.push_screen(YesNo(f"You pasted {len(lines):,} lines. Each will be a message.{why_not}", "Say them", "Drop them"), answer)

    def action_rename(self):
        def answer(name):
            if name is not None:
                self.conversation.rename(name.strip(), monotonic())
                self.step()
        self.app.push_screen(Question("Another name for yourself", "Change", self.conversation.name), answer)

    def action_leave(self):
        def answer(yes):
            if yes:
                self.conversation.request("LEAVE")
                self.step()
        self.app.push_screen(YesNo(f"Leave {self.conversation.group} for good? You will not be a member any more.", "Leave", "Stay"), answer)

    def action_part(self):
        self.conversation.quit(monotonic())
        self.step()

    def action_come(self):
        old = self.conversation
        if old.state == "over":
            self.conversation = Conversation(old.name, self.password, old.last, chance=random)
            self.conversation.was_in, self.conversation.group = True, old.group
            self.link.conversation = self.conversation
        else:
            old.retry_at = 0
        self.step()

    def action_groups(self):
        self.go("")

    def action_escape(self):
        if self.to_say:
            self.note(f"{len(self.to_say):,} lines were not said")
            self.to_say.clear()
            self.show_state()
        elif not self.conversation.was_in:
            self.go("You gave up waiting." if self.conversation.state == "waiting" else "")

    def action_scroll(self, pages):
        self.talk.scroll_relative(y=pages * max(1, self.talk.size.height - 1), animate=False, force=True, immediate=True)

    def look(self, is_watched):
        self.talk.look(is_watched)


class Member(Window):
    TITLE = "Grupo"

    def __init__(self, place="", name="", groups=GROUPS):
        super().__init__()
        self.door = Door(place, name, Groups(groups))

    def on_mount(self):
        self.push_screen(self.door)

    def on_app_focus(self):
        self.look(True)

    def on_app_blur(self):
        self.look(False)

    def look(self, is_watched):
        for screen in self.screen_stack:
            if isinstance(screen, Chat):
                screen.look(is_watched)


def main():
    parser = argparse.ArgumentParser(prog="python -m implementations.windows.member", allow_abbrev=False, description="The member's window.")
    parser.add_argument("place", nargs="?", default="", type=argument(check_place), metavar="HOST:PORT", help="127.0.0.1:7000 or [::1]:7000")
    parser.add_argument("name", nargs="?", default="", type=argument(check_name), metavar="NAME")
    parser.add_argument("--groups", metavar="FILE", default=GROUPS, help="where the groups you belong to are kept (default: %(default)s)")
    options = parser.parse_args()
    Member(options.place, options.name, options.groups).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
