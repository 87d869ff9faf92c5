#!/bin/sh
# Checks that the core behaves as at another commit: the simulators of host/core/tests run the same seeds at both, and
# the transcripts of all state machines must be the same.
#
#   host/core/tests/sameness.sh BASE [SEEDS]    SEEDS per simulator, default 200; the work tree is compared as it is
set -eu

base=${1:?usage: sameness.sh BASE [SEEDS]}
seeds=${2:-200}
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
commit=$(git rev-parse --verify --quiet "$base^{commit}") || { echo "$base is not a commit" >&2; exit 2; }
unset WASMNODE_SEED WASMNODE_SEEDS WASMNODE_TRANSCRIPT

work=$PWD/target/sameness
tree=$work/tree
mkdir -p "$work"
# A killed run leaves its work tree behind. The path is constant, so that cargo reuses its target folder.
git worktree remove --force "$tree" 2>/dev/null || true
trap 'git worktree remove --force "$tree"' EXIT
trap 'exit 130' INT TERM
git worktree add --quiet --detach --force "$tree" "$commit"
rm -rf "$work/then" "$work/now"

# transcripts then|now VARIABLE=VALUE: writes the transcripts of one of the two commits to the folder of that name.
transcripts() {
    if [ "$1" = then ]; then where=$tree built=$work/target; else where=$PWD built=${CARGO_TARGET_DIR:-$PWD/target}; fi
    (cd "$where" && env "$2" WASMNODE_TRANSCRIPT="$work/$1" CARGO_TARGET_DIR="$built" \
        cargo test --locked --quiet -p wasmnode-core --tests transcript) >"$work/$1.log" 2>&1 || {
        echo "the run '$1' fails:" >&2
        tail -n 40 "$work/$1.log" >&2
        exit 1
    }
}

transcripts then WASMNODE_SEEDS="$seeds"
transcripts now WASMNODE_SEEDS="$seeds"
[ -d "$work/then" ] || { echo "$base has no transcripts" >&2; exit 2; }

if diff -r "$work/then" "$work/now" >"$work/differences"; then
    echo "same: $seeds seeds of $(find "$work/now" -name '*.txt' | wc -l) simulators"
    exit 0
fi

for list in $(cd "$work" && ls then now | grep '\.txt$' | sort -u); do
    simulator=${list%.txt}
    if ! [ -f "$work/then/$list" ] || ! [ -f "$work/now/$list" ]; then
        echo "$simulator: exists in only one of the two commits"
        continue
    fi
    differ=$(diff "$work/then/$list" "$work/now/$list" | sed -n 's/^[<>] \([0-9]*\) .*/\1/p' | sort -nu)
    [ -n "$differ" ] || continue
    first=$(echo "$differ" | head -n 1)
    echo "$simulator: $(echo "$differ" | wc -l) of $seeds seeds differ: $(echo "$differ" | head -n 8 | tr '\n' ' ')"
    echo "  seed $first:"
    transcripts then WASMNODE_SEED="$first"
    transcripts now WASMNODE_SEED="$first"
    diff "$work/then/$simulator-$first.txt" "$work/now/$simulator-$first.txt" | head -n 12 | cut -c 1-400 | sed 's/^/    /'
done
exit 1
