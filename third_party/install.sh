#!/bin/sh
# Installs what the build needs and this machine lacks: Debian packages by apt, Go into build/tools. Silent when nothing is missing.
set -eu
cd "$(dirname "$0")/.."

missing=""
while read -r names _; do
    case "$names" in '' | '#'*) continue ;; esac
    found=""
    for name in $(echo "$names" | tr '|' ' '); do
        if dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed'; then found=yes; fi
    done
    if [ -z "$found" ]; then missing="$missing $names"; fi
done <third_party/packages.txt

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "stepd: this machine has no apt; install the equivalents of:$missing" >&2
        exit 1
    fi
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "stepd: packages are missing and this user may not install them. Run: sudo apt-get install$(echo "$missing" | sed 's/|[^ ]*//g')" >&2
            exit 1
        fi
        sudo="sudo"
    fi
    echo "stepd: installing$missing"
    $sudo apt-get update -qq
    for names in $missing; do
        first=${names%%|*}
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$first" >/dev/null 2>&1 ||
            $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${names##*|}" >/dev/null
    done
fi

# Go of the version in go.mod or newer; Debian 12's own is too old.
need=$(sed -n 's/^go //p' go.mod)
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
if [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -1)" != "$need" ]; then
    if [ ! -x build/tools/go/bin/go ]; then
        echo "stepd: fetching Go ($(cat third_party/go.txt)) into build/tools"
        mkdir -p build/tools
        python3 -m venv build/tools/python
        build/tools/python/bin/pip install -q --disable-pip-version-check -r third_party/go.txt
        ln -sfn "$(echo "$PWD"/build/tools/python/lib/python3*/site-packages/go)" build/tools/go
    fi
fi
