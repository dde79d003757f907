"""What comes out of a graded class: tables for gradebooks, files for systems, the page for teachers.
Nothing in them obeys a name, shows a student a hidden check, or turns what needs a look into a 0.
"""

import csv
import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from conftest import browser
from test_formats import HOSTILE, OBEYED, elements, fits

from harness.driving.messages import msg
from harness.driving.record import Entry
from harness.grading import adjust, outputs
from harness.grading.model import Class, End, Grade, Student, folder_of, rounded
from harness.verdicts import catalogue, language
from harness.verdicts.formats import FORMATS
from harness.verdicts.model import FAILED, PASSED, Failure, Report, UsageError, Verdict
from harness.verdicts.rubric import Rubric

BEGAN = datetime(2026, 11, 30, 18, 0, tzinfo=UTC)
NAMES = (
    *("Ana Souza", "Žofie Nováková", "O'Brien, Sinéad", "Müller_Lüdenscheidt", "=1+1", "李 小龙"),
    *("@sum(A1)", "Bob;=cmd|' /C calc'!A1", "<b>Bobby</b> Tables", "-2+3", "\u202eevil", "Zé"),
)
HIDDEN = "cross-traffic"
CAUSES = {
    "one-order": ("silent", "Two threads send at once: the lock is released too early."),
    HIDDEN: ("floods", "A line of one member is torn by another's."),
    "nothing-lost": ("cut-off", "A message is lost when its sender leaves."),
}


def report_of(failing=(), unjudged=(), text="came"):
    """A Report of lab 3 as `--json` has it, in which these checks fail."""
    verdicts = []
    for check in catalogue.catalogue():
        if check.lab and check.id not in CAUSES:
            continue  # a few are enough
        word = FAILED if check.id in failing else PASSED
        word = "inconclusive" if check.id in unjudged else word
        points = 12.0 if check.id in CAUSES else 0
        one = Verdict(check.id, check.stage, msg("A title."), word, points, check.lab)
        one.hidden = check.id == HIDDEN
        if word == FAILED:
            sentence, cause = CAUSES.get(check.id, ("silent", "It did not answer."))
            one.failure = Failure(
                sentence,
                ["ana sends SAY a"],
                "MSG 2 T ana a",
                text,
                msg("{cause}", cause=cause),
                "protocol.md#5",
                "run 2",
                "make check ONLY=x",
                [Entry(0.1, "ana", "sends", "SAY a"), Entry(0.2, "ben", "hears", text)],
                1,
            )
        verdicts.append(one)
    found = Report(
        ["python", "-m", "implementations.pthread"],
        "pthread",
        3,
        "abc",
        "2026-11-30T18:00:00Z",
        "2 cores",
        "/tmp/x",
        seconds=30.5,
        verdicts=verdicts,
    )
    return json.loads(FORMATS["json"](found))


def graded(login, failing=(), **more):
    report = report_of(failing)
    more = {"points": report["score"], "possible": report["most"], "tier": "A", **more}
    return Grade(login, End.GRADED, report=report, seconds=31.2, submitted=BEGAN, **more)


def a_class(count=12, **more):
    """A class in which each kind of end occurs, with hostile names."""
    students, grades = [], []
    kinds = [(), ("one-order",), ("one-order", HIDDEN), (), ("nothing-lost",), ()]
    for number in range(count):
        login = f"s{number:03}"
        name = NAMES[number % len(NAMES)]
        students.append(
            Student(
                login,
                name,
                sis_id=f"20260{number:03}",
                email=f"{login}@school.example",
                section="T1" if number % 2 else "=T2",
                moodle_id=str(7000 + number),
                more={"canvas_id": str(100 + number)},
            )
        )
        grade = graded(login, kinds[number % len(kinds)])
        if number % 10 == 7:
            why = msg("server.c does not compile: {why}", why="<script>alert(1)</script>\nline 3")
            grade = Grade(login, End.NOT_BUILT, 0.0, 36.0, why, tier="A", submitted=BEGAN)
        elif number % 10 == 8:
            grade = Grade(login, End.NOTHING, None, 36.0, msg("no submission"), tier="A")
        elif number % 10 == 9:
            report = report_of(unjudged=["one-order"])
            why = msg("could not be judged: {names}", names="one-order")
            grade = Grade(login, End.LOOK, None, 36.0, why, report, "A", submitted=BEGAN)
        elif number % 10 == 3:
            grade.late, grade.deducted = 1.5, 3.6
            grade.reasons.append(msg("handed in {days} days late", days=2))
        grades.append(grade)
    rubric = Rubric(hidden={HIDDEN}, by_hand={"predictions": 10, "write-up": 20})
    options = {"tier": "A", "unmatched": ["mystery<b>.zip", HOSTILE], "graded": BEGAN, **more}
    return Class(
        3,
        msg("pthread and the lock"),
        students,
        grades,
        rubric,
        due=BEGAN - timedelta(days=1),
        late="10%/day",
        **options,
    )


def table(text, delimiter=","):
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=delimiter))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(the class, the folder) of a class in all formats."""
    folder = tmp_path_factory.mktemp("results")
    cls = a_class()
    rows = [
        adjust.Adjustment("s000", 18, "write-up", column="write-up"),
        adjust.Adjustment("s003", -0.335, "regrade"),
    ]
    adjust.apply(cls, rows)
    gradebook, worksheet = folder / "from-canvas.csv", folder / "from-moodle.csv"
    gradebook.write_text(canvas_export(cls), encoding="utf-8")
    worksheet.write_text(moodle_export(cls), encoding="utf-8")
    notes = outputs.write(cls, folder, outputs.CHOICES, outputs.Tables(gradebook, "", worksheet))
    return cls, folder, notes


def canvas_export(cls):
    """As Canvas exports a gradebook: lib/gradebook_exporter.rb."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Notes"]
    header += ["Lab 13 (900)", "Lab 3 (901)", "Exam (902)", "Final Score"]
    rows = [header, ["", "", "", "", "", "", "", "Manual Posting", "", ""]]
    rows.append(["    Points Possible", "", "", "", "", "", "10", "36", "100", "(read only)"])
    for student in cls.students:
        value = {"s001": "EX", "s002": "N/A", "s009": "12"}.get(student.login, "")
        rows.append(
            [
                *(f"{student.name}, x", student.more["canvas_id"], student.sis_id),
                *(student.login, "T", "", "1", value, "2", "3"),
            ]
        )
    rows.append(["Student, Test", "999", "", "f00d", "T", "", "", "", "", ""])
    return outputs.gradebooks.written(rows)


def moodle_export(cls, changeable="Yes"):
    """As Moodle exports a grading worksheet: mod/assign/gradingtable.php."""
    header = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade"]
    header += ["Grade can be changed", "Last modified (submission)", "Last modified (grade)"]
    header += ["Feedback comments"]
    rows = [header]
    for student in cls.students:
        rows.append(
            [
                *(f"Participant {student.moodle_id}", student.name, student.email),
                *("Submitted for grading - ", "", "36.00", changeable),
                *("Sunday, 29 November 2026, 6:00 PM", "-", ""),
            ]
        )
    rows.append(
        ["Participant 1", "Nobody", "n@x.example", "-", "5.00", "36.00", "Yes", "-", "-", ""]
    )
    return outputs.gradebooks.written(rows)


# -- Tables --


def test_grades_csv_has_the_sum_and_why_and_excel_reads_it(written):
    cls, folder, _ = written
    data = (folder / "grades.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf") and b"\r" not in data
    rows = {row[0]: row for row in table(data.decode())}
    assert rows["login"] == [*outputs.gradebooks.COLUMNS]
    assert rows["s000"][3:10] == ["graded", "36", "0", "18", "54", "66", "A", "write-up: +18"][:7]
    assert rows["s003"][4:8] == ["36", "3.6", "-0.34", "32.06"]
    assert rows["s007"][3:8] == ["does not build", "0", "0", "0", "0"]
    assert "<script>" in rows["s007"][10] and " / line 3" in rows["s007"][10]
    assert rows["s008"][3:8] == ["nothing handed in", "", "0", "0", ""]
    assert rows["s009"][3:8] == ["needs a look", "", "0", "0", ""]
    assert rows["s001"][10] == "" and rows["s002"][7] == "12"


def test_in_portuguese_grades_csv_is_what_excel_reads_there(monkeypatch):
    monkeypatch.setattr(language, "in_use", "pt-BR")
    rows = {row[0]: row for row in table(outputs.gradebooks.grades(a_class()), ";")}
    assert rows["s003"][4:8] == ["36", "3,6", "0", "32,4"]


def test_no_cell_of_any_table_is_a_formula_in_any_country(written):
    _, folder, _ = written
    for name in "grades.csv", "canvas.csv", "moodle.csv":
        text = (folder / name).read_text(encoding="utf-8-sig")
        assert not OBEYED.search(text)
        for delimiter in ",;":
            for row in table(text, delimiter):
                for cell in row:
                    is_number = re.fullmatch(r"[+-]?[\d.,]*", cell.strip())
                    assert is_number or not re.match(r"\s*[=+\-@]\s*\S", cell), cell


def test_canvas_is_the_exported_gradebook_with_one_column_filled_in(written):
    cls, folder, notes = written
    rows = table((folder / "canvas.csv").read_text(encoding="utf-8"))
    assert rows[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 3 (901)"]
    assert rows[1][5] == "Manual Posting" and rows[2][0] == "    Points Possible"
    assert rows[2][5] == "36"
    cells = {row[1]: row[5] for row in rows[3:]}
    assert [cells[str(100 + number)] for number in range(12)] == [
        *("54", "EX", "N/A", "32.06", "24", "36"),
        *("36", "0", "", "", "24", "36"),
    ]
    assert cells["999"] == ""
    assert "Lab 3 (901) has 36 points in the gradebook, and 66 here" in notes


def test_without_a_gradebook_canvas_knows_the_students_by_their_ids():
    text, _ = outputs.gradebooks.canvas(a_class(), None, "")
    rows = table(text)
    assert rows[0][5] == "Grupo lab 3" and rows[1][5] == "66"
    assert rows[2] == ["Ana Souza", "100", "20260000", "s000", "'=T2", "36"]
    assert rows[2 + 9][5] == ""


def test_a_gradebook_with_a_mark_and_semicolons_stays_so(tmp_path):
    cls = a_class(2)
    path = tmp_path / "gradebook.csv"
    rows = table(canvas_export(cls))
    path.write_text(outputs.gradebooks.written(rows, ";", is_marked=True), encoding="utf-8")
    text, _ = outputs.gradebooks.canvas(cls, path, "")
    assert text.startswith("\ufeffStudent;ID;") and table(text, ";")[3][5] == "36"


def test_a_row_is_known_by_any_id_but_by_none_that_two_students_have(tmp_path):
    cls = a_class(4)
    first, second, third, fourth = cls.students
    for student in cls.students:
        student.more = {}
    first.login = cls.grades[0].login = "ANA"
    second.sis_id = third.sis_id = "same"
    path = tmp_path / "gradebook.csv"
    rows = [
        [
            "LastName",
            "FirstName",
            "ID",
            "SIS User ID",
            "SIS Login ID",
            "Section",
            "Lab 3 (opt) (9)",
        ],
        ["    Points Possible", "", "", "", "", "", "66"],
        ["Souza", "Ana", "1", "", "ana", "", ""],
        ["=N", "+F", "2", "same", "", "", "7"],
        ["O", "S", "3", "", third.email.upper(), "", ""],
        ["M", "L", "4", fourth.sis_id, "", "", ""],
        ["Ana", "Souza", "5", "", "", "", ""],
    ]
    path.write_text(outputs.gradebooks.written(rows))
    text, notes = outputs.gradebooks.canvas(cls, path, "")
    assert [row[6] for row in table(text)[2:]] == ["36", "7", "12", "32.4", ""]
    assert table(text)[3][:2] == ["'=N", "'+F"]
    assert notes == [f"{path} has no row for these students: s001"]


@pytest.mark.parametrize(
    "assignment, line",
    [
        ("Lab 4", "0 assignments are called `Lab 4`, so name one of: `Lab 13`, `Lab 3`, `Exam`"),
        ("", "2 assignments are called `lab 3`, so name one of: `Lab 3`, `Lab 3 again`"),
    ],
)
def test_an_assignment_that_is_not_clear_is_refused_in_one_line(assignment, line, tmp_path):
    path = tmp_path / "gradebook.csv"
    text = canvas_export(a_class(2))
    if not assignment:
        text = text.replace("Lab 13 (900)", "Lab 3 (900)").replace("Exam (9", "Lab 3 again (9")
        text = text.replace("Lab 3 (901)", "Quiz")
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        outputs.gradebooks.canvas(a_class(2), path, assignment)
    assert str(refused.value) == f"{path}: {line}"


def test_moodles_worksheet_is_filled_in_and_the_rest_of_it_stays(written):
    cls, folder, notes = written
    theirs = table((folder / "from-moodle.csv").read_text(encoding="utf-8"))
    ours = table((folder / "moodle.csv").read_text(encoding="utf-8"))
    assert ours[0] == theirs[0] and len(ours) == len(theirs)
    assert [row[4] for row in ours[1:]] == [
        *("54", "24", "12", "32.06", "24", "36", "36", "0", "", "", "24", "36", "5.00"),
    ]
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert (mine[0], mine[2], mine[5:9]) == (other[0], other[2], other[5:9])
    assert "&lt;script&gt;" in ours[8][9] and "needs a look" not in ours[1][9]
    assert any("s000 has 54 points, and Moodle takes at most 36" in note for note in notes)


def test_moodle_in_portuguese_and_a_locked_grade(tmp_path):
    cls = a_class(2)
    path = tmp_path / "worksheet.csv"
    text = moodle_export(cls, "Não").replace("Participant ", "Participante ")
    text = text.replace("Identifier", "Identificador").replace(",Grade,", ",Nota,")
    text = text.replace("Grade can be changed", "Nota pode ser alterada")
    path.write_text(text, encoding="utf-8-sig")
    found = outputs.gradebooks.moodle(cls, path)
    assert found.ids == {"s000": "7000", "s001": "7001"}
    assert [row[4] for row in table(found.text)[1:]] == ["", "", "5.00"]
    assert found.notes[0] == "s000 is locked in Moodle, and stays as it is"


def test_feedback_zip_is_named_as_moodle_reads_it(written):
    """explode('_', name, 5): the identifier is second, then the plugin's type and name."""
    cls, folder, _ = written
    with zipfile.ZipFile(folder / "feedback.zip") as archive:
        names = archive.namelist()
        for name in names:
            parts = name.split("/")[0].split("_", 4)
            assert parts[2:4] == ["assignsubmission", "file"] and parts[1].isdigit()
            assert name.endswith("/report.html") and name.count("/") == 1
            login = f"s{int(parts[1]) - 7000:03}"
            assert archive.read(name) == (folder / login / "report.html").read_bytes()
            assert not re.search(r'[\\:*?"<>|]', name)
        assert len(names) == 11 and archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_a_table_of_another_kind_is_refused_in_one_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for fill in (
        lambda: outputs.gradebooks.canvas(a_class(1), tmp_path / "x.csv", ""),
        lambda: outputs.gradebooks.moodle(a_class(1), tmp_path / "x.csv"),
        lambda: outputs.gradebooks.moodle(a_class(1), tmp_path / "none.csv"),
    ):
        with pytest.raises(UsageError) as refused:
            fill()
        assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)
    before = set(tmp_path.iterdir())
    with pytest.raises(UsageError):
        outputs.write(a_class(1), tmp_path, ["moodle"])
    assert set(tmp_path.iterdir()) == before


# -- Files for systems --


def test_each_students_files_fit_their_schemas(written):
    cls, folder, _ = written
    assert not (folder / "s008").exists()  # there is nothing to say of what was not handed in
    for login in "s001", "s007", "s009":
        place, grade = folder / login, cls.grade_of(login)
        for name in "gradescope", "classroom50", "prairielearn":
            fits(name, (place / f"{name}.json").read_text())
        feedback, scores = (place / "autolab.txt").read_text().splitlines()
        fits("autolab-feedback", feedback)
        fits("autolab-scores", scores)
        gradescope = json.loads((place / "gradescope.json").read_text())
        assert gradescope.get("score") == grade.points
    look = json.loads((folder / "s009" / "gradescope.json").read_text())
    assert look["output"].startswith("The checks give no grade: could not be judged")
    late = json.loads((folder / "s003" / "gradescope.json").read_text())["output"]
    assert "Final: 32.06 points = 36 - 3.6 for lateness -0.34 by hand." in late


def test_a_grade_that_a_person_gave_is_told_to_the_student(tmp_path):
    cls = a_class()
    looked = outputs.students.report_of(cls, cls.grade_of("s009"), tmp_path)
    assert "A person will look at it, and give the grade." in looked.notes
    adjust.apply(cls, [adjust.Adjustment("s009", 20, "looked at it", decides=True)])
    given = outputs.students.report_of(cls, cls.grade_of("s009"), tmp_path)
    assert (
        not given.is_graded and "A person will look at it, and give the grade." not in given.notes
    )
    assert given.notes[-1] == "Final: 20 points = 20 - 0 for lateness +0 by hand."


def test_the_junit_of_a_class_fits_its_schema_and_tells_each_end(written):
    import xmlschema

    cls, folder, _ = written
    text = (folder / "junit.xml").read_text()
    schema = Path(__file__).parent / "schemas" / "junit.xsd"
    xmlschema.XMLSchema(str(schema)).validate(text)
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(text)}
    assert suites["s001: crowd"].get("failures") == "1"
    assert suites["s007: start"].find(".//failure").get("type") == "refused"
    assert suites["s008: start"].find(".//failure").text == "no submission"
    assert suites["s009: grade"].find(".//error").get("type") == "look"
    assert {name.split(":")[0] for name in suites} == {grade.login for grade in cls.grades}


def test_students_see_nothing_of_a_hidden_check_and_teachers_do(written):
    cls, folder, _ = written
    shown = [path for path in folder.glob("*/*") if path.suffix in (".html", ".json", ".txt")]
    with zipfile.ZipFile(folder / "feedback.zip") as archive:
        texts = [path.read_text() for path in (*shown, folder / "junit.xml")]
        texts += [archive.read(name).decode() for name in archive.namelist()]
    assert len(texts) > 60
    for text in texts:
        assert HIDDEN not in text and CAUSES[HIDDEN][1] not in text
    page = (folder / "class.html").read_text()
    assert HIDDEN in page and "For teachers only" in page


def test_a_reason_that_names_a_hidden_check_is_not_told_to_the_student(tmp_path):
    cls = a_class(1)
    why = msg("could not be judged: {names}", names=f"one-order, {HIDDEN}[x]")
    report = report_of(unjudged=[HIDDEN])
    cls.grades[0] = Grade("s000", End.LOOK, why=why, report=report, tier="A", notes=[why])
    (tmp_path / "worksheet.csv").write_text(moodle_export(cls))
    formats = [*outputs.CHOICES[4:], "moodle", "junit"]
    outputs.write(cls, tmp_path, formats, outputs.Tables(worksheet=tmp_path / "worksheet.csv"))
    for path in (*tmp_path.glob("s000/*"), tmp_path / "moodle.csv", tmp_path / "junit.xml"):
        assert HIDDEN not in path.read_text(), path
    assert "this is about a hidden check" in (tmp_path / "s000" / "report.html").read_text()
    assert HIDDEN in (tmp_path / "grades.csv").read_text() and HIDDEN in page_in(tmp_path)
    assert outputs.gradebooks.for_students("cross-traffic-2", ["cross-traffic"]) == (
        "cross-traffic-2"
    )


def test_the_same_class_gives_the_same_bytes(written, tmp_path):
    cls, folder, _ = written
    tables = outputs.Tables(folder / "from-canvas.csv", "", folder / "from-moodle.csv")
    outputs.write(cls, tmp_path, outputs.CHOICES, tables)
    for path in tmp_path.rglob("*.*"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path


def test_without_a_cell_there_is_practice_and_no_grade(tmp_path):
    cls = a_class(3, tier="none")
    for grade in cls.grades:
        grade.tier = "none"
    outputs.write(cls, tmp_path, ["gradescope", "canvas"])
    assert [row[7] for row in table((tmp_path / "grades.csv").read_text())[1:]] == ["", "", ""]
    assert "score" not in json.loads((tmp_path / "s000" / "gradescope.json").read_text())
    assert "this is practice: there are no grades" in (tmp_path / "class.html").read_text()


def test_a_report_that_is_in_the_folder_only_is_read_from_it(tmp_path):
    cls = a_class(2)
    whole = outputs.students.report_of(cls, cls.grades[1], tmp_path)
    (tmp_path / "s001").mkdir()
    (tmp_path / "s001" / "grade.json").write_text(json.dumps(cls.grades[1].as_dict()))
    cls.grades[1].report = None
    assert outputs.students.report_of(cls, cls.grades[1], tmp_path) == whole


# -- The page --


def test_the_page_says_who_needs_a_look_first_and_escapes_every_name(written):
    cls, folder, _ = written
    page = (folder / "class.html").read_text()
    head = page[: page.index("Checks, the hardest first")]
    assert head.index("s009") < head.index("mystery&lt;b&gt;.zip") < head.index("s008")
    assert head.index("s008") < head.index("s007") and "&lt;script&gt;alert(1)" in head
    assert "write-up: 1 of 11 students have them" in head
    tags = {tag for tag, _ in elements(page)}
    assert not tags & {"script", "img", "iframe", "link", "b onclick"} and not OBEYED.search(page)
    links = {dict(attributes).get("href") for tag, attributes in elements(page) if tag == "a"}
    assert all((folder / link).is_file() for link in links)
    assert len(links - {"similarity.html"}) == 11


def test_the_page_counts_each_check_and_who_shares_a_failure(written):
    page = (written[1] / "class.html").read_text()
    rows = dict(re.findall(r"<tr><td><code>([a-z-]+)</code>.*?(\d+ / \d+)<td class=rate>", page))
    assert rows["one-order"] == "7 / 10"
    assert rows[HIDDEN] == "9 / 10" and rows["nothing-lost"] == "8 / 10"
    assert list(rows)[0] == "one-order"
    shared = page[page.index("Failures that students share") : page.index("All students")]
    assert shared.count("<li>") == 2  # nobody shares that of the hidden check
    assert "<b>2</b> · <code>one-order</code>" in shared


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("spoken", language.LANGUAGES)
def test_a_class_of_nobody_and_of_one(count, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(language, "in_use", spoken)
    outputs.write(a_class(count, unmatched=[]), tmp_path, ["canvas", "junit"])
    assert len(table((tmp_path / "grades.csv").read_text(encoding="utf-8"))) == 1 + count
    assert "<html lang=" + spoken in (tmp_path / "class.html").read_text()


def test_a_login_that_is_no_name_of_a_folder(tmp_path):
    cls = a_class(1)
    for login in "ana souza", "..x", "a%b", "é?":
        cls.students[0].login = cls.grades[0].login = login
        outputs.write(cls, tmp_path)
        assert (tmp_path / folder_of(login) / "report.html").is_file()
        links = [dict(at)["href"] for tag, at in elements(page_in(tmp_path)) if tag == "a"]
        assert (tmp_path / unquote(links[0])).is_file()


def page_in(folder):
    return (folder / "class.html").read_text()


# -- adjust.csv --


def test_adjust_csv_adds_decides_and_fills_in_columns_and_a_rerun_changes_nothing(tmp_path):
    cls = a_class()
    path = tmp_path / "adjust.csv"
    path.write_text(
        "login;points;reason\n\nS000;18;Write Up\ns000;+1,5;regrade\n"
        "s009;=20;looked at it\ns009;5;predictions\ns003;-100;copied\n",
        encoding="utf-8-sig",
    )
    for _ in range(2):
        adjust.apply(cls, adjust.read(path, cls.students, cls.rubric))
    finals = {grade.login: grade.final for grade in cls.grades}
    assert (finals["s000"], finals["s009"], finals["s003"]) == (55.5, 25, 0)
    assert cls.grade_of("s000").by_hand == {"write-up": 18}
    assert cls.grade_of("s009").reasons == ["looked at it: =20", "predictions: +5"]
    path.write_text("login,points,reason\n")
    adjust.apply(cls, adjust.read(path, cls.students, cls.rubric))
    assert cls.grade_of("s009").final is None and cls.grade_of("s003").reasons == [
        "handed in 2 days late"
    ]


@pytest.mark.parametrize(
    "text, line",
    [
        ("login,points,reason\ns00,1,x\n", "line 2: no student has the login s00 (close: s0"),
        ("login,points,reason\nzoe,1,x\n", "line 2: no student has the login zoe"),
        (
            "login,points,reason\n\ns000,ten,x\n",
            "line 3: points are a number such as 18, -2 or =50",
        ),
        ("login,points,reason\ns000,nan,x\n", "line 2: points are a number"),
        ("login,points,reason\ns000,1e9,x\n", "line 2: points are a number"),
        ("login,points,reason\ns000,,x\n", "line 2: points are a number"),
        ("login,points,reason\n,1,x\n", "line 2: it has no login"),
        ("login,points,reason\ns000,21,write-up\n", "line 2: write-up has 0 to 20 points"),
        ("login,points,reason\ns000,-1,write-up\n", "line 2: write-up has 0 to 20 points"),
        ("login,points,reason\ns000,=-1,x\n", "line 2: a grade is not below 0"),
        (
            "login,points,reason\ns000,1,write-up\ns000,2,write-up\n",
            "line 3: s000 has write-up twice",
        ),
        ("login,points,reason\ns000,=1,x\ns000,=2,y\n", "line 3: s000 has y twice"),
        ("login,points\ns000,1\n", ": the first line must be login,points,reason"),
        ("", ": the first line must be login,points,reason"),
        ('login,points,reason\ns000,1,"x\n', "line 2: unexpected end of data"),
        ("login,points,reason\ns000,1,x,y\n", "line 2: it has more cells"),
    ],
)
def test_what_is_wrong_in_adjust_csv_is_one_line(text, line, tmp_path):
    path = tmp_path / "adjust.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        adjust.read(path, a_class().students, a_class().rubric)
    assert line in str(refused.value) and str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_adjustments_that_cannot_count_are_told(tmp_path):
    cls = a_class()
    adjust.apply(cls, [adjust.Adjustment("s009", 50, "looked at it")])
    notes = outputs.write(cls, tmp_path)
    assert "s009 needs a look, so +50 points in adjust.csv are not counted" in notes[0]
    assert cls.grade_of("s009").final is None


def test_there_is_no_minus_zero():
    assert [outputs.gradebooks.number(points) for points in (-0.0, -0.001, 0.005, 7.5, 1e5)] == [
        *("0", "0", "0.01", "7.5", "100000"),
    ]


@pytest.mark.parametrize(
    "points, expected",
    [(2.675, 2.68), (1.005, 1.01), (0.1 + 0.2, 0.3), (33.335, 33.34), (1e-9, 0), (19.995, 20)],
)
def test_points_are_rounded_alike_everywhere(points, expected):
    assert rounded(points) == expected


# -- In a browser --


@pytest.mark.long
def test_the_page_of_a_large_class_in_a_browser(tmp_path):
    """No sideways scroll at 390 px, what needs a look is on the first screen, the scheme of the
    system, dark text on white paper, links that lead to the students' pages.
    """
    from playwright.sync_api import sync_playwright

    outputs.write(a_class(120), tmp_path)
    bright = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for width, height in (1280, 800), (390, 844):
            for scheme in "light", "dark":
                shown = chromium.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                shown.goto(f"file://{tmp_path}/class.html")
                assert shown.evaluate("document.documentElement.scrollWidth") <= width
                top = "document.querySelector('.first').getBoundingClientRect().top"
                assert shown.evaluate(top) < height
                assert (shown.evaluate(bright) > 128) is (scheme == "light")
                shown.emulate_media(media="print", color_scheme=scheme)
                assert shown.evaluate(bright) == 255
                shown.click("section:last-of-type a >> nth=0")
                assert shown.url.endswith("/s000/report.html")
                shown.close()
        chromium.close()
