#!/bin/sh
# Build the environment: sh env/bootstrap.sh [FOLDER], default .venv.
#
# Needs a Python, nothing else: no root, no uv. Every byte that gets installed has its hash in env/requirements.lock, uv
# itself and the build tools of source packages included.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
lock=env/requirements.lock

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 2; }

# These take a minute to download around, so they are said first; `retailpulse doctor` looks closer.
check_machine() {
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*/bin/java \
        /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java "$HOME"/.sdkman/candidates/java/*/bin/java; do
        [ -x "$java" ] && break
        java=
    done
    [ -n "$java" ] || fail "there is no Java on this machine. The servers and Spark need Java 17 or 21: install it" \
        "(Debian: apt install openjdk-17-jre-headless; conda: conda env create -f environment.yml), or set JAVA_HOME."
    free_mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free_mb" -ge 5000 ] || fail "only $free_mb MB are free here, and the environment and the servers take 5,000." \
        "Make room, or clone to a larger disk."
}

# Version managers leave a python3.X on the PATH that only says it is not installed: each one has to run.
suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    seen=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        version=$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
        if ! suitable "$candidate"; then
            seen="$seen $candidate is $version,"
        elif ! has_venv "$candidate"; then
            short=${version%.*}
            seen="$seen $candidate has no venv module (Debian: apt install python$short-venv),"
        else
            command -v "$candidate"
            return
        fi
    done
    fail "RetailPulse needs Python 3.11, 3.12 or 3.13, with the module venv. Found:${seen:- none}" \
        "Install one of them (Debian: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12"
}

# uv reads no pip configuration, and a mirror is usually set up for pip only.
borrow_from_pip() {
    index=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    cert=${PIP_CERT:-$("$venv/bin/python" -m pip config get global.cert 2>/dev/null || true)}
    [ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
}

check_machine
uv_version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' "$lock")
if ! suitable "$venv/bin/python"; then
    python=$(find_python)
    say "Building the environment in $venv with $("$python" --version)."
    "$python" -m venv --clear "$venv"
fi
if [ "$("$venv/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
    has_venv "$venv/bin/python" || fail "$venv has no pip, and its Python can't install it. Run 'make clean' and try again."
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
    awk '/^[^ ]/ { mine = /^uv==/ } mine' "$lock" > "$venv/uv.lock"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
        --require-hashes -r "$venv/uv.lock"
fi
borrow_from_pip
# By --python, as an activated environment (conda's, for one) must not be taken for ours.
uv() { UV_PYTHON_DOWNLOADS=never "$venv/bin/uv" pip "$@" --quiet --python "$venv/bin/python"; }
# Compiled now: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE, as in many containers; an environment that
# its user can't write to) every process would compile all that it imports, papermill alone for ten seconds of a core.
# The lock has all extras of the package, so the package itself is installed without its dependencies.
uv sync --compile-bytecode --require-hashes --build-constraints "$lock" "$lock"
uv install --no-deps --no-build-isolation --editable .
"$venv/bin/python" -m compileall -q retailpulse_kernel
# Not needed, so no reason to fail: without it every start of Spark takes some seconds more.
"$venv/bin/python" -m retailpulse_kernel.stores.spark.class_archive >"$venv/class-archive.log" 2>&1 ||
    say "Spark's classes could not be archived, so it will start slower. Why is in $venv/class-archive.log."
