#!/usr/bin/env bash
# PrairieLearn runs this in the image for each submission.
root=${GRUPO_GRADE:-/grade}
bash "$root/tests/grade" "$root/student" "$root/results/results.json"
