#!/bin/sh
# Starts two zones, paris and lyon, of two nodes each, joined by two routers. Sends random traffic between them, and
# reports what each router and node forwarded. Ends all processes that it started, also on Ctrl-C.
#
#   examples/zones/run.sh                       builds the program first, then takes about ten seconds
#   examples/zones/run.sh my-traffic.toml       sends the traffic of another file
#   WASMNODE=target/debug/wasmnode examples/zones/run.sh       uses a program that is already built
set -eu
case ${1:-} in
-*) sed -n '/^#!/d;s/^# \{0,1\}//p;/^set/q' "$0"; exit ;;
esac
zones=$(cd "$(dirname "$0")" && pwd)
traffic=${1:-$zones/traffic.toml}

if [ -z "${WASMNODE:-}" ]; then
    root=$(cd "$zones/../.." && pwd)
    (cd "$root" && cargo build --release --locked --package wasmnode --target-dir target)
    WASMNODE=$root/target/release/wasmnode
fi

logs=$(mktemp -d)
started=""
end() {
    status=$?
    trap - EXIT
    for id in $started; do kill "$id" 2>/dev/null || true; done
    wait
    case $status in
    0 | 130 | 141 | 143) rm -r "$logs" ;;
    *) printf '\nThe logs are in %s\n' "$logs" >&2 ;;
    esac
    exit "$status"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# The reader of the output has ended.
trap 'exit 141' PIPE

# Port, name.
processes="5610 router-paris
5620 router-lyon
5611 paris1
5612 paris2
5621 lyon1
5622 lyon2"

printf '\nStarting two routers and four nodes; their logs are in %s\n' "$logs"
for name in router-paris router-lyon paris1 paris2 lyon1 lyon2; do
    "$WASMNODE" --config "$zones/$name.toml" 2>"$logs/$name.log" &
    started="$started $!"
done

# Exits if a process has ended, for example because another run of this script uses the same ports.
check_processes() {
    for id in $started; do
        kill -0 "$id" 2>/dev/null || { printf 'A process has ended:\n' >&2; tail -n 1 "$logs"/*.log >&2; exit 1; }
    done
}

# Calls a service through a node until a call succeeds. A call takes two seconds to fail if the node does not listen.
wait_for() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        "$WASMNODE" call --wait "$1" "from $2" --to "tcp://127.0.0.1:$3" >/dev/null 2>"$logs/call" && return
        check_processes
    done
    printf '%s cannot be called through %s: %s\n' "$1" "$2" "$(cat "$logs/call")" >&2
    exit 1
}

for service in print afficher; do
    wait_for "$service@lyon" paris1 5611
    wait_for "$service@lyon" paris2 5612
    wait_for "$service@paris" lyon1 5621
    wait_for "$service@paris" lyon2 5622
done
check_processes
printf 'The zones are joined: each node can call print and afficher of the other zone\n'

printf '\n$ wasmnode traffic --config %s\n' "$traffic"
status=0
"$WASMNODE" traffic --config "$traffic" || status=$?

for router in paris:5610 lyon:5620; do
    endpoint=tcp://127.0.0.1:${router#*:}
    printf '\nRequests through router-%s, in both directions:\n$ wasmnode services --to %s\n' "${router%:*}" "$endpoint"
    "$WASMNODE" services --to "$endpoint"
done

printf '\nRequests accepted and forwarded by each process:\n%-14s %9s %10s\n' NODE ACCEPTED FORWARDED
printf '%s\n' "$processes" | while read -r port name; do
    report=$("$WASMNODE" services --json --to "tcp://127.0.0.1:$port")
    count() { printf '%s' "$report" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
    printf '%-14s %9s %10s\n' "$name" "$(count accepted)" "$(count forwarded)"
done
exit "$status"
