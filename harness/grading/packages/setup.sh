#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image.
set -e
source=${GRUPO_AUTOGRADER:-/autograder}/source
fits='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c "$fits" 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}
if ! find_python || ! command -v make || ! command -v gcc || ! command -v bwrap; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install --yes make gcc libc6-dev libcrypt-dev bubblewrap python3 python3-venv
    find_python || apt-get install --yes python3.12 python3.12-venv || apt-get install --yes python3.11 python3.11-venv
fi
make -C "$source/grupo" PYTHON="$(find_python)" .venv/ready
