# Sourced by the other scripts: makes .venv once, installs the program with the pinned versions, activates it.
# Needs Python 3.11 or newer; PYTHON names another interpreter, EXTRAS the extras, [train] without it.

PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer; set PYTHON" >&2; exit 2; }
# The programs in a .venv name the place where it was made; without this, a copy would run the original's.
if [ -e .venv/place ] && [ "$(cat .venv/place)" != "$PWD" ]; then
    echo "the repository was moved: .venv is made anew"
    rm -rf .venv
fi
[ -x .venv/bin/python ] || { "$PYTHON" -m venv .venv && echo "$PWD" > .venv/place; }
# Installed anew only when what is to be installed has changed.
wanted=$(cat pyproject.toml launch/constraints.txt <(echo "${EXTRAS:-}") | sha256sum | cut -d' ' -f1)
stamp=.venv/installed${EXTRAS:-}
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing into .venv (a few minutes the first time)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt -e ".${EXTRAS:-[train]}"
    echo "$wanted" > "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv"
