"""A Report in every form that people and grading systems read. Each form is a pure function of the Report."""
from harness.verdicts.formats import terminal

# name: report -> text
FORMATS = {}
