#!/bin/sh
# Alternates stepd and PyTorch on one training case, so that both see the same machine: compare.sh PEER PYTHON CASE VARIANT [ROUNDS]
# PEER is a folder with peer_bench.py, which prints one JSON line with sec_median and sec_min like `stepd bench --json`. VARIANT
# is one of its variants; a suffix @tuned makes glibc keep freed blocks on huge pages, PyTorch's fastest setting.
set -eu
peer=${1:?usage: compare.sh PEER PYTHON CASE VARIANT [ROUNDS]} python=${2:?} case=${3:?} variant=${4:?} rounds=${5:-3}
stepd=$(dirname "$0")/../../bin/stepd
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

tuned=""
case $variant in *@tuned)
    tuned="GLIBC_TUNABLES=glibc.malloc.hugetlb=1 MALLOC_MMAP_THRESHOLD_=68719476736 MALLOC_MMAP_MAX_=0
        MALLOC_TRIM_THRESHOLD_=68719476736 MALLOC_TOP_PAD_=268435456 THP_MEM_ALLOC_ENABLE=1" ;;
esac

field() { sed -n "s/.*\"$1\": *\([0-9.e-]*\).*/\1/p"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

for round in $(seq "$rounds"); do
    "$stepd" bench --json "$case" | tee /dev/stderr | sed 's/^/stepd /' >>"$rows"
    # shellcheck disable=SC2086  # the settings are separate words
    env $tuned OMP_NUM_THREADS="${THREADS:-2}" "$python" "$peer/peer_bench.py" --case "$case" --variant "${variant%@*}" 2>/dev/null |
        grep '^{' | tee /dev/stderr | sed 's/^/torch /' >>"$rows"
done

for statistic in sec_median sec_min; do
    ours=$(grep '^stepd' "$rows" | field $statistic | median)
    theirs=$(grep '^torch' "$rows" | field $statistic | median)
    awk -v s=$statistic -v a="$ours" -v b="$theirs" -v c="$case" -v v="$variant" \
        'BEGIN { printf "%s %s: stepd %.4f s, PyTorch %s %.4f s, ratio %.2f\n", c, s, a, v, b, b / a }'
done
