#!/bin/sh
# Runs every golden check on a folder in the format of the reference data and adds the totals up: run.sh DIR
set -u
dir=$(cd "${1:?usage: run.sh DIR}" && pwd) || exit 2
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

build/native/stepd_reference "$dir" | tee -a "$log"
STEPD_REFERENCE=$dir go test -count=1 -v -run '^TestReference$' ./sessions/tokenize ./cgo 2>&1 |
    grep -E '^(PASS|FAIL|SKIP) [A-Z]/|^[0-9]+ passed|panic|\.go:[0-9]+:|build failed' | tee -a "$log"

# Three parts must have reported; one that died counts as failed.
totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tr -d ',')
parts=$(printf '%s\n' "$totals" | grep -c passed)
printf '%s\n' "$totals" | awk -v parts="$parts" '
    { passed += $1; failed += $3; skipped += $5 }
    END { failed += 3 - parts; printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }'
