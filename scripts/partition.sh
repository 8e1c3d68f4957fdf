#!/usr/bin/env bash
# Networks that are cut in two and grow together again, trackers that vanish: real programs, each in a
# namespace of its own, on a switch where a cut drops every packet without a word.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/netns.sh"

usage() {
  cat <<TEXT
usage: scripts/partition.sh [--check] [chain] [tracker] [chat]

  chain    30 nodes that know one neighbour each find all others; cut into 10 and 20, healed
  tracker  a tracker that is cut off from its five nodes, alone and with two of them; a node that is
           cut off alone
  chat     five nodes say 200 lines a second while the tracker is killed with -9 three times, a node is
           killed and started again, and another is cut off and comes back

All of them (some two minutes) if none is named. Needs root, \`ip\`, \`tc\`, python3. The last line counts
the checks.

  --check     skipped without root, except with CI=true, where it fails
  -h, --help  this text
TEXT
}

check='' scenarios=()
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=yes ;;
    chain|tracker|chat) scenarios+=("$1") ;;
    -h|--help) usage; exit 0 ;;
    *) misuse "unknown argument \`$1\`" ;;
  esac
  shift
done
[ ${#scenarios[@]} -gt 0 ] || scenarios=(chain tracker chat)

missing=$(netns_missing)
[ -n "$missing" ] || have python3 || missing="\`python3\` is not installed"
if [ -n "$missing" ]; then
  [ -n "$check" ] || fail "$missing"
  if [ "${CI-}" = true ]; then say "failed: $missing, and with CI=true this part must run" "0 passed, 1 failed, 0 skipped"; exit 1; fi
  say "1 skipped: $missing" "0 passed, 0 failed, 1 skipped"
  exit 0
fi

"$root/scripts/config.sh" --local
place=$root/target/$net
mkdir -p "$place"
clean_up() {
  remove_network
  rm -rf "$place"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The switch of those who are cut off.
build_network 31 1gbit
ip -n "$hub" link add other type bridge
ip -n "$hub" link set other up
# In the background, since the shell hears no signal while it waits for a program.
python3 "$root/scripts/lib/partition.py" "$net" "$bin" "$place" "${scenarios[@]}" &
wait $!
