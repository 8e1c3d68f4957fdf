#!/usr/bin/env bash
# Stops nodes and tracker, containers and processes, and nothing that is not Shoal's.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/mode.sh"

usage() {
  cat <<TEXT
usage: scripts/stop.sh [NAME]…

Stops the given nodes (or \`tracker\`), without names all: first the nodes, which finish running
transfers for up to \`--grace\` (30) seconds, then the tracker. Files and logs stay.

  -h, --help  this text
TEXT
}

names=()
for argument in "$@"; do
  case $argument in
    -h|--help) usage; exit 0 ;;
    tracker) names+=(tracker) ;;
    *) valid_name "$argument" || misuse "unknown argument \`$argument\`"; names+=("$argument") ;;
  esac
done

stop_everywhere "${names[@]}"
for name in "${names[@]}"; do
  [[ " ${stopped[*]} " == *" $name "* ]] || fail "\`$name\` does not run"
done
if [ ${#stopped[@]} -eq 0 ]; then say "nothing runs"; fi
