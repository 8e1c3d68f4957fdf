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

# Only the files that Shoal writes, and only in folders of the tracker and of nodes: those with a
# log of ours, or with a folder of files by their side. A folder goes when nothing else is in it.
clear_logs() {
  local folder name files
  shopt -s nullglob
  for folder in "$logs"/*/; do
    name=$(basename "$folder")
    files=("$folder"shoal-node*.log* "$folder"shoal-tracker*.log*)
    [ ${#files[@]} -gt 0 ] || [ "$name" = tracker ] || [ -d "$volumes/$name" ] || continue
    rm -f "${files[@]}" "$folder"chat_log_*.log "$folder"output "$folder"pid
    rmdir "$folder" 2>/dev/null || true
  done
  shopt -u nullglob
}

stop_everywhere
clear_logs
say "stopped, logs cleared"
if [ -n "$restore" ]; then
  "$root/scripts/config.sh" --local      # for the big file, which shoal-node generates
  restore_volumes
  say "$volumes is as at the beginning"
fi
