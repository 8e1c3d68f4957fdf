#!/usr/bin/env bash
# Random runs of whole networks with faults: real programs, killed, stopped, cut off, lied to.
source "$(dirname "$0")/lib/settings.sh"

usage() {
  cat <<TEXT
usage: scripts/soak.sh [RUNS] [SEED] [FIRST]

Tries RUNS random scenarios (default 1000), each with 2 to 8 nodes, and prints what happened and
how each download ended. The same SEED gives the same scenarios; without it one is drawn, and
printed. FIRST is the number of the first run (default 0): \`scripts/soak.sh 1 SEED K\` is run K
alone. The folder of a run that fails is kept and named. The last line counts the runs.

Needs a Rust toolchain. Runs with a full disk need root (a small tmpfs is mounted); without, they
are left out and counted, except with CI=true, where that is a failure.

  SHOAL_SOAK_AT_ONCE  runs at the same time (default: 4 for each core; most of a run is waiting)
  SHOAL_SOAK_FOLDER   where runs have their folders (default target/soak)
  -h, --help          this text
TEXT
}

case ${1-} in -h|--help) usage; exit 0 ;; esac
[ $# -le 3 ] || misuse "unknown argument \`$4\`"
for argument in "$@"; do
  [[ $argument =~ ^[0-9]{1,18}$ ]] || misuse "\`$argument\` is no whole number"
done
runs=${1:-1000} seed=${2:-$((RANDOM << 15 | RANDOM))} first=${3:-0}
[ "$runs" -gt 0 ] || misuse "RUNS is 0"
have cargo || fail "\`cargo\` is not installed: install Rust with rustup (rustup.rs)"

folder=${SHOAL_SOAK_FOLDER:-$root/target/soak}/$$
mkdir -p "$folder"
output=$(mktemp)
series=''

# The series and all that it started are one process group, which ends with this script.
clean_up() {
  local left
  if [ -n "$series" ]; then kill -KILL -- "-$series" 2>/dev/null || true; fi
  # What a run that was cut off could not tidy up itself.
  { grep -F " $folder/" /proc/self/mounts || true; } | cut -d' ' -f2 | while read -r left; do umount -l "$left" || true; done
  for left in "$folder"/*; do [ -e "$left/failure" ] || rm -rf "$left"; done
  rmdir "$folder" 2>/dev/null || true
  rm -f "$output"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cd "$root"
# So that the time below is that of the runs.
cargo test --quiet --release --locked -p shoal-node --test soak --no-run
export SHOAL_SOAK_AT_ONCE=${SHOAL_SOAK_AT_ONCE:-$(($(nproc) * 4))}
setsid env SHOAL_SOAK_RUNS="$runs" SHOAL_SOAK_SEED="$seed" SHOAL_SOAK_FIRST="$first" SHOAL_SOAK_FOLDER="$folder" \
  cargo test --quiet --release --locked -p shoal-node --test soak -- --nocapture every_run \
  >"$output" 2>&1 </dev/null &
series=$!
tail -n +1 -f --pid "$series" "$output" &
shown=$!
result=0
wait "$series" || result=$?
series=''
wait "$shown" || true

left_out=$(sed -n 's/^runs: [0-9]*, left out: \([0-9]*\), failed: [0-9]*$/\1/p' "$output")
bad=$(sed -n 's/^runs: [0-9]*, left out: [0-9]*, failed: \([0-9]*\)$/\1/p' "$output")
tried=$(sed -n 's/^runs: \([0-9]*\), .*/\1/p' "$output")
left_out=${left_out:-0} tried=${tried:-0}
# No figures: the series itself broke.
bad=${bad:-1}
if [ "$result" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
passed=$((tried - left_out - bad))
say "$((passed > 0 ? passed : 0)) passed, $bad failed, $left_out skipped"
[ "$bad" -eq 0 ]
