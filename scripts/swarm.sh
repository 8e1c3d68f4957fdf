#!/usr/bin/env bash
# One to many: a file from one owner to nodes that start together, each with a slow uplink.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/netns.sh"

usage() {
  cat <<TEXT
usage: scripts/swarm.sh [--check] [--nodes "1 2 4 8 16"] [--runs N] [--with rqbit|libtorrent]…
                        [--size MIB] [--rate MBIT] [--document FILE]

Builds a network of namespaces in which every node sends at most MBIT (default 100), puts a file
of MIB (default 64) on one node, lets the others fetch it at the same moment, and prints for each
number of nodes when the last one had it: in seconds, and over size / rate. Needs root, \`ip\`,
\`tc\`, python3. The last line counts the targets (8 nodes: 1.3, 16 nodes: 1.45).

  --check          8 nodes, once; skipped without root, except with CI=true, where it fails
  --nodes LIST     numbers of nodes
  --runs N         runs of each, in turns; medians count (default 1)
  --with CLIENT    the same with a BitTorrent client, whose peers know each other from the start:
                   \`rqbit\` from the path, \`libtorrent\` from Debian's python3-libtorrent
  --document FILE  puts the table between its marks in FILE and the plot beside it
  -h, --help       this text
TEXT
}

check='' counts='1 2 4 8 16' runs=1 clients=() size=64 rate=100 document=''
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=yes counts=8 ;;
    --nodes) counts=${2-}; shift ;;
    --runs) runs=${2-}; shift ;;
    --with) clients+=("${2-}"); shift ;;
    --size) size=${2-}; shift ;;
    --rate) rate=${2-}; shift ;;
    --document) document=${2-}; shift ;;
    -h|--help) usage; exit 0 ;;
    *) misuse "unknown argument \`$1\`" ;;
  esac
  [ $# -gt 0 ] || misuse "a value is missing"
  shift
done
most=0
for count in $counts; do
  if ! number "$count" || ((count < 1 || count > 64)); then misuse "\`$count\` is no number of nodes (1 to 64)"; fi
  if ((count > most)); then most=$count; fi
done
for value in "$runs" "$size" "$rate"; do
  if ! number "$value" || ((value == 0)); then misuse "\`$value\` is no number"; fi
done
for client in "${clients[@]}"; do
  case $client in rqbit|libtorrent) ;; *) misuse "\`--with $client\`: it is rqbit or libtorrent" ;; esac
done

passed=0 failed=0 skipped=0
finish() {
  say "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}

missing=$(netns_missing)
[ -n "$missing" ] || have python3 || missing="\`python3\` is not installed"
if [ -n "$missing" ]; then
  [ -n "$check" ] || fail "$missing"
  if [ "${CI-}" = true ]; then say "failed: $missing, and with CI=true this part must run"; failed=1
  else say "1 skipped: $missing"; skipped=1; fi
  finish
fi

# Debian's python has Debian's libtorrent.
python=/usr/bin/python3; [ -x "$python" ] || python=python3
helper=("$python" "$root/scripts/lib/swarm.py")
for client in "${clients[@]}"; do
  case $client in
    rqbit) have rqbit || fail "\`rqbit\` is not in the path (\`cargo install rqbit\`)" ;;
    libtorrent) "$python" -c 'import libtorrent' 2>/dev/null || fail "\`python3-libtorrent\` is not installed" ;;
  esac
done

"$root/scripts/config.sh" --local

# In memory where there is room, so that the disk is not what is measured.
needs=$(((most + 3) * size + 512))
roomy() { [ -w "$1" ] && [ "$(df -m --output=avail "$1" | tail -n 1)" -gt "$needs" ]; }
if roomy /dev/shm; then place=/dev/shm/$net; else place=$root/target/$net; fi
mkdir -p "$place"
clean_up() {
  remove_network
  rm -rf "$place"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

node() { echo "$place/node$1"; }
monotonic() { cut -d' ' -f1 /proc/uptime; }
seconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.3f\n", to - from }'; }
ctl() { local k=$1; shift; timeout 600 "$bin/shoal-node" ctl --files "$(node "$k")" --json "$@"; }

# ---- Shoal ----

shoal_start() {
  local count=$1 k
  on "$hub" "$bin/shoal-tracker" --listen "$hub_ip:12345" --logs "$place/tracker" </dev/null >"$place/tracker.out" 2>&1 &
  disown
  for ((k = 0; k <= count; k++)); do
    on "$(node_ns "$k")" "$bin/shoal-node" --name "node$k" --tracker "$hub_ip:12345" \
      --listen "$(node_ip "$k")" --advertise "$(node_ip "$k")" --files "$(node "$k")" \
      --logs "$place/logs$k" </dev/null >"$place/node$k.out" 2>&1 &
    disown
  done
  for ((k = 0; k <= count; k++)); do
    await "$patience" sees "$k" "$count" || fail "node $k does not see the others: $(tail -n 3 "$place/node$k.out")"
  done
  await "$patience" has_it 0 || fail "the owner does not share its file"
}

sees() { [ "$(ctl "$1" peers 2>/dev/null | grep -o '"search"' | wc -l)" -eq "$2" ]; }
has_it() { ctl "$1" show 2>/dev/null | grep '"file.bin"' >/dev/null; }

# Prints when each had it, in seconds since the start; all of them asked at the same moment.
shoal_run() {
  local count=$1 k start fetches=()
  start=$(now)
  for ((k = 1; k <= count; k++)); do
    { ctl "$k" download file.bin --from all >"$place/job$k" && now >"$place/end$k"; } 2>"$place/error$k" &
    fetches+=($!)
  done
  for k in "${!fetches[@]}"; do
    wait "${fetches[k]}" || fail "node $((k + 1)) did not get it: $(cat "$place/job$((k + 1))" "$place/error$((k + 1))")"
  done
  for ((k = 1; k <= count; k++)); do seconds "$start" "$(<"$place/end$k")" | awk '{ print $1 / 1e6 }'; done
}

# ---- BitTorrent ----

# The peers of node K among 0 to COUNT: all but itself.
peers_of() {
  local k list=()
  for ((k = 0; k <= $2; k++)); do [ "$k" -eq "$1" ] || list+=("$(node_ip "$k"):6881"); done
  echo "${list[@]}"
}

rqbit_peer() {
  local k=$1 count=$2
  on "$(node_ns "$k")" rqbit -v warn --disable-dht --disable-dht-persistence --disable-lsd --disable-trackers \
    --disable-upnp-port-forward --ipv4-only --listen-ip "$(node_ip "$k")" --listen-port 6881 \
    --http-api-listen-addr 127.0.0.1:3030 download --overwrite --output-folder "$(node "$k")" \
    --initial-peers "$(peers_of "$k" "$count" | tr ' ' ,)" "$place/torrent" </dev/null >"$place/node$k.out" 2>&1
}

# In the background, since the shell hears no signal while it waits for a program.
rqbit_watch() {
  "${helper[@]}" rqbit-watch "$@" >"$place/ends" &
  wait $! || fail "rqbit does not end: $(tail -n 3 "$place"/node*.out)"
}

rqbit_start() {
  rqbit_peer 0 "$1" & disown
  rqbit_watch "$patience" "$(node_ns 0)"
}

rqbit_run() {
  local count=$1 k start names=()
  start=$(monotonic)
  for ((k = 1; k <= count; k++)); do rqbit_peer "$k" "$count" & disown; names+=("$(node_ns "$k")"); done
  rqbit_watch 600 "${names[@]}"
  while read -r end; do seconds "$start" "$end"; done <"$place/ends"
}

libtorrent_peer() {
  local k=$1 peers; read -ra peers <<<"$(peers_of "$1" "$2")"
  on "$(node_ns "$k")" "${helper[@]}" libtorrent "$place/torrent" "$(node "$k")" "$(node_ip "$k")" "${peers[@]}" \
    </dev/null >"$place/end$k" 2>"$place/node$k.out"
}

libtorrent_start() {
  libtorrent_peer 0 "$1" & disown
  await "$patience" [ -s "$place/end0" ] || fail "libtorrent does not seed: $(cat "$place/node0.out")"
}

libtorrent_run() {
  local count=$1 k start
  start=$(monotonic)
  for ((k = 1; k <= count; k++)); do libtorrent_peer "$k" "$count" & disown; done
  for ((k = 1; k <= count; k++)); do
    await 600 [ -s "$place/end$k" ] || fail "libtorrent does not end: $(cat "$place/node$k.out")"
    seconds "$start" "$(<"$place/end$k")"
  done
}

# ---- one run, and all ----

# one CONTESTANT COUNT: prints the time of the last node.
one() {
  local who=$1 count=$2 k last
  rm -rf "$place"/node* "$place"/end* "$place"/job* "$place/logs"*
  for ((k = 0; k <= count; k++)); do mkdir -p "$(node "$k")"; done
  cp -p "$place/file.bin" "$(node 0)/file.bin"
  "${who}_start" "$count" >&2
  "${who}_run" "$count" >"$place/times"
  last=$(sort -n "$place/times" | tail -n 1)
  [ "$(wc -l <"$place/times")" -eq "$count" ] || fail "$who: only $(wc -l <"$place/times") of $count had it"
  end_processes
  for ((k = 1; k <= count; k++)); do
    cmp "$place/file.bin" "$(node "$k")/file.bin" >&2 || fail "$who: node $k has other bytes"
  done
  printf '   %-10s %2d nodes: first %6.2f s, last %6.2f s, %5.2f times size / rate\n' "$who" "$count" \
    "$(sort -n "$place/times" | sed -n 1p)" "$last" "$(awk -v t="$last" -v i="$ideal" 'BEGIN { print t / i }')"
  echo "$who $count $last" >>"$place/results"
}

ideal=$(awk -v size="$size" -v rate="$rate" 'BEGIN { printf "%.3f\n", size * 1048576 * 8 / (rate * 1e6) }')
build_network $((most + 1)) "${rate}mbit"
"$bin/shoal-node" sample "$place/file.bin" --size $((size * 1024 * 1024))
if [ ${#clients[@]} -gt 0 ]; then "${helper[@]}" torrent "$place/file.bin" "$place/torrent"; fi
say "$size MiB from one owner, every node sends at most $rate Mbit/s: size / rate is $ideal s"
for ((run = 1; run <= runs; run++)); do
  for count in $counts; do
    for who in shoal "${clients[@]}"; do one "$who" "$count"; done
  done
done

# meets NODES RATIO: whether that target is met, if it was tried.
meets() {
  local last
  last=$(awk -v n="$1" '$1 == "shoal" && $2 == n { print $3 }' "$place/results" | sort -n |
    awk '{ t[NR] = $1 } END { if (NR) print (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2 }')
  [ -n "$last" ] || return 0
  if awk -v t="$last" -v i="$ideal" -v r="$2" 'BEGIN { exit !(t <= r * i) }'; then
    say "ok $1 nodes: the last within $2 times size / rate"; passed=$((passed + 1))
  else
    say "not ok $1 nodes: the last within $2 times size / rate; it took $last s, $ideal s is size / rate"
    failed=$((failed + 1))
  fi
}

heading="$size MiB from one owner to N nodes that start together, every uplink limited to $rate Mbit/s (\`tbf\` in
network namespaces of one machine with $(nproc) cores). When the last one had it, and over size / rate
($ideal s); median of $runs. \`scripts/swarm.sh\`, $(date -I)."
if [ -z "$check" ]; then
  say ""
  "${helper[@]}" report "$place/results" "$ideal" "$heading" "$place/section.md" "$place/swarm.svg"
  if [ -n "$document" ]; then
    mkdir -p "$(dirname "$document")"
    "${helper[@]}" into "$document" "$place/section.md" swarm
    cp "$place/swarm.svg" "$(dirname "$document")/swarm.svg"
  fi
fi
# At 100 Mbit/s; elsewhere the delays of the machine weigh otherwise.
meets 8 1.3
meets 16 1.45
finish
