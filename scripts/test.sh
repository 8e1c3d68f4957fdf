#!/usr/bin/env bash
# All tests: format, lints, unit and socket tests, and end to end on real containers and processes.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/docker.sh"

usage() {
  cat <<TEXT
usage: scripts/test.sh

Runs every check and stops at the first section that fails. The last line counts the single tests
and checks. Without Docker its part is skipped, except with CI=true, where that is a failure.
Containers, network and folders of the tests are their own: a running Shoal is left alone.

  -h, --help  this text
TEXT
}

case ${1-} in
  '') ;;
  -h|--help) usage; exit 0 ;;
  *) misuse "unknown argument \`$1\`" ;;
esac

passed=0 failed=0 skipped=0 began=$SECONDS
output=$(mktemp)
built=$(mktemp) builder=''
skips=$(mktemp)        # a Rust test that cannot run here appends a line `name: reason` and returns
clean_up() {
  # With what it has started; it may have ended.
  [ -z "$builder" ] || pkill -P "$builder" 2>/dev/null || true
  rm -f "$output" "$skips" "$built"
}
trap clean_up EXIT
cd "$root"

count() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

finish() {
  say "" "total: $((SECONDS - began)) s"
  say "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}

skip() { say "1 skipped: $1"; count 0 0 1; }

# section TITLE COUNTER COMMAND…; COUNTER turns success and the output into counts.
section() {
  local title=$1 counter=$2 start=$SECONDS result=0; shift 2
  say "" "== $title"
  "$@" 2>&1 | tee "$output" || result=$?
  "$counter" "$result"
  say "-- $title: $((SECONDS - start)) s"
  if [ "$result" -ne 0 ]; then
    [ "$failed" -gt 0 ] || count 0 1 0
    finish
  fi
}

one_check() { if [ "$1" -eq 0 ]; then count 1 0 0; else count 0 1 0; fi; }

# Adds up the lines that each test program of `cargo test` ends with. For cargo a skipped test passed.
cargo_tests() {
  local counts skipped_test
  counts=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 \2 \3/p' "$output")
  while read -r ok bad ignored; do count "$((ok))" "$((bad))" "$((ignored))"; done <<<"$counts"
  while read -r skipped_test; do
    say "1 skipped: $skipped_test"
    count -1 0 1
  done <"$skips"
}

last_line() {
  local counts
  counts=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$output")
  # shellcheck disable=SC2086
  if [ -n "$counts" ]; then count $counts; fi
}

report() { cat "$built"; return "$1"; }

need() { "$@" >/dev/null 2>&1 || fail "\`$*\` does not work here: install Rust with rustup (rustup.rs), with rustfmt and clippy"; }

need cargo --version
need cargo fmt --version
need cargo clippy --version

section 'format' one_check cargo fmt --all --check
section 'lints' one_check cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
if have shellcheck; then section 'scripts' one_check shellcheck .ci/run scripts/*.sh scripts/lib/*.sh
else say "" "== scripts"; skip 'needs shellcheck'; fi
section 'building the tests' one_check cargo test --quiet --locked --workspace --no-run
# Many tests wait for deadlines: so twice as many run at once as there are cores, and what is left of
# the processor meanwhile builds what comes after them.
nice -n 19 "$root/scripts/config.sh" --local >"$built" 2>&1 & builder=$!
section 'tests' cargo_tests env SHOAL_SKIPS="$skips" RUST_TEST_THREADS=$((2 * $(nproc))) cargo test --quiet --locked --workspace --no-fail-fast
result=0; wait "$builder" || result=$?
builder=''
section 'building the programs' one_check report "$result"

section 'end to end, without Docker' last_line scripts/e2e.sh local
missing=$(docker_missing)
if [ -z "$missing" ]; then section 'end to end, in Docker' last_line scripts/e2e.sh docker
elif [ "${CI-}" = true ]; then
  say "" "== end to end, in Docker" "failed: $missing, and with CI=true this part must run"
  count 0 1 0
else
  say "" "== end to end, in Docker"; skip "needs Docker ($missing)"
fi
# It says itself when it can't run here.
section 'one to many' last_line scripts/swarm.sh --check
section 'cut in two' last_line scripts/partition.sh --check
finish
