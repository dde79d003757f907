"""Tables that people and school systems write, as CSV: with commas, semicolons or tabs, with or
without a byte order mark.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import msg
from harness.driving.text_files import EncodingError, read_text
from harness.grading.roster import folded
from harness.verdicts import language
from harness.verdicts.model import UsageError

MARK = "\ufeff"  # Excel takes a file without it for one in the machine's old code page


@dataclass
class Sheet:
    """A table as a file holds it."""

    path: str
    header: list[str]
    rows: list[list[str]]  # each as wide as the header
    lines: list[int]  # the last line of each row in the file
    delimiter: str = ","
    is_marked: bool = False

    def column(self, names: str) -> int | None:
        """The place of the column that has one of these names, separated by commas; case, accents
        and signs do not matter. None if there is none.
        """
        wanted = {folded(name) for name in names.split(",")}
        return next(
            (place for place, name in enumerate(self.header) if folded(name) in wanted), None
        )

    def as_text(self) -> str:
        """The table as a file, as it came."""
        return written([self.header, *self.rows], self.delimiter, self.is_marked)


def read_sheet(path: str | Path) -> Sheet:
    """The table in a file; empty rows are left out. Raises UsageError, with the line."""
    try:
        text = read_text(path)
        is_marked = Path(path).read_bytes().startswith(MARK.encode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except EncodingError as error:
        raise UsageError(msg("{path}: {why}", path=path, why=error.args[0])) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    sheet = Sheet(str(path), [], [], [], delimiter, is_marked)
    try:
        sheet.header = [name.strip() for name in next(reader, [])]
        width = len(sheet.header)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if any(cell.strip() for cell in row[width:]):
                raise wrong(sheet, reader.line_num, msg("it has more cells than the first line"))
            sheet.rows.append([*row[:width], *[""] * (width - len(row))])
            sheet.lines.append(reader.line_num)
    except csv.Error as error:
        raise wrong(sheet, reader.line_num, str(error)) from None
    return sheet


def wrong(sheet: Sheet, line: int, why: str) -> UsageError:
    """The UsageError for a line of the table."""
    return UsageError(msg("{path}, line {line}: {why}", path=sheet.path, line=line, why=why))


def written(rows: Iterable[Iterable[str]], delimiter: str = ",", is_marked: bool = False) -> str:
    """Rows as the text of a file."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return (MARK if is_marked else "") + out.getvalue()


def number(points: float | None) -> str:
    """Points as every system reads them: 7, 7.5 or 7.25; '' if there are none."""
    if points is None:
        return ""
    return f"{round(points, 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # + 0.0: there is no -0


def spoken(points: float | None) -> str:
    """Points as people read them: with the decimal sign of the language in use."""
    return number(points) if language.in_use == "en" else number(points).replace(".", ",")
