#!/usr/bin/env bash
# Stops everything and clears the logs; with -v the nodes' files are as at the beginning.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/mode.sh"
source "$root/scripts/lib/volumes.sh"

usage() {
  cat <<TEXT
usage: scripts/reset.sh [-v]

Stops all nodes and the tracker, and clears LOGS.

  -v          also restores VOLUMES from the starting set: what the nodes fetched, and every
              other file in their folders, is deleted
  -h, --help  this text
TEXT
}

restore=
for argument in "$@"; do
  case $argument in
    -v) restore=yes ;;
    -h|--help) usage; exit 0 ;;
    *) misuse "unknown argument \`$argument\`" ;;
  esac
done

# Only the files that Shoal writes; a folder goes when nothing else is in it.
clear_logs() {
  local folder
  for folder in "$logs"/*/; do
    [ -d "$folder" ] || continue
    rm -f "$folder"*.log "$folder"*.log.[0-9]* "$folder"output "$folder"pid
    rmdir "$folder" 2>/dev/null || true
  done
}

stop_everywhere
clear_logs
say "stopped, logs cleared"
if [ -n "$restore" ]; then
  "$root/scripts/config.sh" --local      # for the big file, which shoal-node generates
  restore_volumes
  say "$volumes is as at the beginning"
fi
