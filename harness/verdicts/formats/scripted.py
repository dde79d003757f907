"""Texts and data for pages with a script. They go into the page as JSON; the script shows them as
text, never as markup.
"""

import json
import re
from typing import Any

from harness.verdicts import language
from harness.verdicts.language import say


def in_language(texts: Any) -> Any:
    """Texts (templates, in dicts) in the language in use; the names of their values stay in them,
    for the script.
    """
    if isinstance(texts, dict):
        return {key: in_language(text) for key, text in texts.items()}
    return say(texts, **{name: f"{{{name}}}" for name in language.holes(texts)})


def in_script(data: Any):
    """Data as JSON that can be inside <script>: nothing in it ends the element."""
    from markupsafe import Markup

    text = json.dumps(data, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text))
