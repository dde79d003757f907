"""A Report in every form that people and grading systems read. Each form is a function of the
Report alone.

All of them tell what a student may know: hidden checks count and are not shown. Only `json` is
for the instructor.
"""

from harness.verdicts.formats import graders
from harness.verdicts.formats.junit import junit
from harness.verdicts.formats.page import page

# name: report -> text
FORMATS = {
    "json": graders.own_json,
    "junit": junit,
    "html": page,
    "gradescope": graders.gradescope,
    "classroom50": graders.classroom50,
    "autolab": graders.autolab,
    "prairielearn": graders.prairielearn,
    "canvas": graders.canvas,
}
