#!/usr/bin/env bash
# Measures Shoal beside a bare reference program and others; writes docs/benchmarks.md.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/docker.sh"

scenarios=(single small spread start memory index limits faults tracker search chat)

usage() {
  cat <<TEXT
usage: scripts/bench.sh [--quick] [--rounds COUNT] [--only TEXT]… [--print] [SCENARIO [FLAG]…]

  scripts/bench.sh                         everything: some 40 minutes on a machine that does nothing else
  scripts/bench.sh --quick                 less of everything, a few minutes: to see that it works
  scripts/bench.sh single --where disk     one scenario; its flags: scripts/bench.sh single --help

  single   one file from several owners to one node (--containers: in Docker)
  small    a folder of many small files
  spread   one file from one owner to five nodes at once
  start    from \`shoal-node get\` to the first byte
  memory   peaks of memory and descriptors
  index    how fast a node learns what it shares, and what a transfer loses by it
  limits   whether limits hold
  faults   owners that are slow or far
  tracker  a tracker of up to 20,000 nodes, and heartbeats a second beside Redis
  search   what a search costs as a network grows to 10,000 nodes
  chat     messages of five to a hundred, beside NATS and Redis

  --rounds COUNT  runs of each contestant (7; with --quick 3)
  --only TEXT     only contestants with this in their names; can be repeated
  --print         leave docs/benchmarks.md as it is
  -h, --help      this text

Each scenario replaces its section of docs/benchmarks.md and its picture beside it. All programs run
on addresses 127.0.0.x of this machine, files are on /dev/shm and in target/. Contestants that are
not installed are named in the tables.
TEXT
}

quick='' rounds='' print='' options=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes ;;
    --rounds) [ $# -ge 2 ] || misuse "\`$1\` needs a value"
      [[ $2 =~ ^0*[1-9][0-9]{0,3}$ ]] || misuse "\`--rounds $2\`: use a number from 1 to 9999"
      rounds=$((10#$2)); shift ;;
    --only) [ $# -ge 2 ] || misuse "\`$1\` needs a value"; options+=(--only "$2"); shift ;;
    --print) print=yes ;;
    -h|--help) usage; exit 0 ;;
    -*) misuse "unknown argument \`$1\`" ;;
    *) break ;;
  esac
  shift
done
if [ $# -gt 0 ] && [[ " ${scenarios[*]} " != *" $1 "* ]]; then misuse "unknown scenario \`$1\`"; fi
[ -n "$rounds" ] || rounds=$([ -n "$quick" ] && echo 3 || echo 7)
options+=(--rounds "$rounds")
[ -z "$quick" ] || options+=(--quick)
[ -n "$print" ] || options+=(--docs "$root/docs")

for tool in cargo split sha1sum date; do
  have "$tool" || fail "\`$tool\` is not installed; the bench needs it"
done
[[ -d /dev/shm && -w /dev/shm ]] || fail "/dev/shm is not there or not writable: files in memory go there"

# Says which contestants will be missing; their lines in the tables say it again.
name_missing() {
  local packages=() tool
  for tool in nginx:nginx-light redis-server:redis-server nats-server:nats-server aria2c:aria2 curl:curl rsync:rsync b3sum:b3sum; do
    have "${tool%:*}" || [ -x "/usr/sbin/${tool%:*}" ] || packages+=("${tool#*:}")
  done
  /usr/bin/python3 -c 'import libtorrent' >/dev/null 2>&1 || packages+=(python3-libtorrent)
  [ ${#packages[@]} -eq 0 ] || note "some contestants are missing: \`apt-get install ${packages[*]}\` brings them"
  [ -n "$rqbit" ] ||
    note "rqbit is missing: \`cargo install rqbit --locked --version 9.1.0 --no-default-features --features rust-tls\` brings it"
}

find_rqbit() {
  local place
  for place in "$(command -v rqbit || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/rqbit"; do
    if [ -n "$place" ] && [ -x "$place" ]; then echo "$place"; return; fi
  done
}

build() {
  note "building"
  (cd "$root" && cargo build --release --locked --bins -p shoal-node -p shoal-tracker -p shoal-bench) >&2 ||
    fail "\`cargo build\` failed: its messages stand above"
}

# In the containers there are no libraries. Their image is ours, like all else that runs there.
build_for_containers() {
  SHOAL_PROJECT=$bench_project "$root/scripts/config.sh"
  local host; host=$(rustc -vV | sed -n 's/^host: //p')
  (cd "$root" && RUSTFLAGS="${RUSTFLAGS-} -C target-feature=+crt-static" \
    cargo build --release --locked --target "$host" -p shoal-bench --bin bare) >&2 ||
    fail "\`bare\` could not be built for containers: the messages stand above"
  options+=(--container-bare "$target/$host/release/bare")
}

# Our own processes and containers, wherever the bench was interrupted.
clean_up() {
  local process place
  for process in /proc/[0-9]*; do
    # Not all have the folder in their command line, and Redis writes another one; but all are in it.
    place=$(readlink "$process/cwd" 2>/dev/null || true)
    if [[ $place == "$memory"* || $place == "$disk"* ]] || grep -qsaF -e "$memory" -e "$disk" "$process/cmdline"; then
      kill "${process#/proc/}" 2>/dev/null || true
    fi
  done
  if have docker && [ -n "$(docker ps -aq --filter "label=shoal=$bench_project" 2>/dev/null)" ]; then
    SHOAL_PROJECT=$bench_project SHOAL_VOLUMES=$memory/VOLUMES SHOAL_LOGS=$memory/LOGS "$root/scripts/stop.sh" || true
  fi
  if have docker; then docker image rm "$bench_project:latest" >/dev/null 2>&1 || true; fi
  rm -rf "$memory" "$disk"
}

measure() {
  note "== $*"
  (cd "$root" && "$target/release/shoal-bench" "${options[@]}" "$@")
}

rqbit=$(find_rqbit)
[ -z "$rqbit" ] || options+=(--rqbit "$rqbit")
name_missing
build
target=$(cd "$root" && cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
bench_project=shoal-bench-$$
disk=$target/bench-$$
memory=$(mktemp -d /dev/shm/shoal-bench.XXXXXX)
mkdir -p "$disk"
trap clean_up EXIT
trap 'exit 130' INT TERM
options+=(--bin "$target/release" --tmpfs "$memory" --disk "$disk" --scripts "$root/scripts" --project "$bench_project")
if [ -z "$(docker_missing)" ] && [[ $# -eq 0 || " $* " == *" --containers "* ]]; then build_for_containers; fi

if [ $# -gt 0 ]; then
  measure "$@"
  exit
fi

some=() few=()
if [ -n "$quick" ]; then some=(--sizes 394MB --owners 3) few=(--counts 1000); fi
measure single --where tmpfs "${some[@]}"
measure single --where disk "${some[@]}"
if [ -z "$(docker_missing)" ]; then measure single --containers --sizes 394MB --owners 3
else note "no containers here: $(docker_missing)"; fi
measure small "${few[@]}"
for scenario in spread start memory index limits faults tracker search chat; do measure "$scenario"; done
