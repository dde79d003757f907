"""Prints the tables of implementations/common/lookalikes.py, from the Unicode data in ICU.

To update the tables, install icukit-pyicu (65 MB, so the servers do not depend on it), run
`python tests/lookalikes_from_icu.py`, and replace the end of that file by the output.
"""

import unicodedata

import icu

NAME_LETTERS = icu.UnicodeSet("[[:L:][:M:][:Nd:]-[:NFKC_QC=N:]]")
UNASSIGNED = icu.UnicodeSet("[:Cn:]")
HAN = icu.UnicodeSet("[[:Script=Han:]&[:L:]-[:NFKC_QC=N:]]")
SPOOF_CHECKER = icu.SpoofChecker()
ASCII_OF_NAMES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-."


def allowed():
    """Return the set of UTS 39, Identifier_Status=Allowed, and all Han."""
    found = icu.UnicodeSet()
    found.addAll(SPOOF_CHECKER.getRecommendedUnicodeSet())
    found.addAll(SPOOF_CHECKER.getInclusionUnicodeSet())
    found.addAll(HAN)
    return found


def ranges(wanted):
    """Yield (first, last) beyond ASCII. A range may span what makes no difference."""
    first = last = None
    for code in [*range(0x80, 0xD800), *range(0xE000, 0x110000)]:
        char = chr(code)
        is_wanted = wanted.contains(char)
        if is_wanted and not is_composed(char, wanted):
            first, last = first or char, char
        elif not is_wanted and first and must_not_span(char, wanted):
            yield first, last
            first = None
    if first:
        yield first, last


def is_composed(char, wanted):
    """Return whether `char` is composed of wanted characters: then it needs no range."""
    parts = unicodedata.normalize("NFD", char)
    return parts != char and all(part.isascii() or wanted.contains(part) for part in parts)


def must_not_span(char, wanted):
    """Return whether `char` could be in a name, now or in later versions of Unicode."""
    can_be = NAME_LETTERS.contains(char) or UNASSIGNED.contains(char)
    return can_be and not is_composed(char, wanted)


def prototypes(wanted):
    """Return {character: prototype} for each character that a decomposed name can hold."""
    letters = icu.UnicodeSet(wanted).retainAll(NAME_LETTERS)
    decomposed = {part for char in letters for part in unicodedata.normalize("NFD", char)}
    skeletons = {char: SPOOF_CHECKER.getSkeleton(0, char) for char in decomposed}
    skeletons |= {char: SPOOF_CHECKER.getSkeleton(0, char) for char in ASCII_OF_NAMES}
    return {char: skeletons[char] for char in sorted(skeletons) if skeletons[char] != char}


def lines(pieces, most=92):
    """Yield the pieces in lines of string literals."""
    line = ""
    for piece in pieces:
        escaped = ascii(piece)[1:-1].replace('"', '\\"').replace("\\'", "'")
        if len(line + escaped) > most:
            yield f'    "{line}"'
            line = ""
        line += escaped
    yield f'    "{line}"'


def main():
    """Print the tables."""
    wanted = allowed()
    edges = [first + chr(ord(last) + 1) for first, last in ranges(wanted)]
    pairs = [f"{char}{prototype} " for char, prototype in prototypes(wanted).items()]
    print(f"# From ICU {icu.ICU_VERSION}: Unicode {icu.UNICODE_VERSION}.")
    print("# The first character of each allowed range, and the first one after it.")
    print("EDGES = (", *lines(edges), ")", sep="\n")
    print("# Each character that looks like others, and its prototype.")
    print("PROTOTYPES = (", *lines(pairs), ")", sep="\n")


if __name__ == "__main__":
    main()
