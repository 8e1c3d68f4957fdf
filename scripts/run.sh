#!/usr/bin/env bash
# Starts a tracker and nodes, each with a terminal.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/mode.sh"
source "$root/scripts/lib/volumes.sh"
source "$root/scripts/lib/terminals.sh"

usage() {
  cat <<TEXT
usage: scripts/run.sh [-s 1] [-n COUNT] [-nn NAME]… [--local] [--terminal KIND]

  scripts/run.sh -s 1 -n 4    a tracker and node1 … node4; typed again, it starts only what is missing
  scripts/run.sh -n 2         two more nodes: the first two of node1, node2, … that do not run
  scripts/run.sh -nn node5    one node by name

  -s 1             the tracker; with it, -n COUNT means: node1 … nodeCOUNT shall run
  -n COUNT         without -s: COUNT more nodes
  -nn NAME         a node of this name; can be repeated
  --local          plain processes on 127.0.0.2 … instead of containers; chosen by itself where
                   no Docker engine answers
  --terminal KIND  ${terminals[*]}, none (nodes run detached), or auto: a window where there
                   is a display, else tmux panes, else none; none when the output is no terminal
  -h, --help       this text

What runs already is never started twice. Programs and image are built first where needed. Node N
shares VOLUMES/nodeN and logs to LOGS/nodeN. \`scripts/stop.sh\` stops, \`scripts/reset.sh\` cleans up.
In the environment: SHOAL_SUBNET, SHOAL_PROJECT and the others in scripts/lib/settings.sh.
TEXT
}

with_tracker='' count=0 named=() mode='' terminal=auto
while [ $# -gt 0 ]; do
  case $1 in
    -s|-n|-nn|--terminal) [ $# -ge 2 ] || misuse "\`$1\` needs a value" ;;
  esac
  case $1 in
    -s) case $2 in 1) with_tracker=yes ;; 0) ;; *) misuse "\`-s $2\`: there is one tracker, \`-s 1\`" ;; esac; shift ;;
    -n) number "$2" || misuse "\`-n $2\`: use a number between 0 and 9999"; count=$((10#$2)); shift ;;
    -nn) valid_name "$2" || misuse "\`-nn $2\`: use letters, digits, \`.\`, \`-\`, \`_\`, and another name than \`tracker\`"
      named+=("$2"); shift ;;
    --local) mode=local ;;
    --terminal) terminal=$2; shift
      [[ " ${terminals[*]} none auto " == *" $terminal "* ]] || misuse "\`--terminal $terminal\`: use ${terminals[*]}, none or auto" ;;
    -h|--help) usage; exit 0 ;;
    *) misuse "unknown argument \`$1\`" ;;
  esac
  shift
done
[ -n "$with_tracker" ] || [ "$count" -gt 0 ] || [ ${#named[@]} -gt 0 ] || misuse "nothing to start"
case $terminal in
  auto) choose_terminal ;;
  none) ;;
  *) have "$terminal" || fail "\`$terminal\` is not installed: choose another \`--terminal\`, or install it" ;;
esac

# One network runs in one mode; a second one in the other mode would share its folders.
choose_mode() {
  local missing; missing=$(docker_missing)
  if [ "$mode" = local ]; then
    [ -n "$missing" ] || [ -z "$(docker_names)" ] ||
      fail "Shoal runs in Docker ($(docker_names | xargs)): \`scripts/stop.sh\` first, then \`--local\`"
  elif [ -n "$(local_names)" ]; then
    note "Shoal runs without Docker ($(local_names | xargs)): going on with --local"
    mode=local
  elif [ -n "$missing" ]; then
    note "$missing: running as plain processes, as with --local"
    mode=local
  else
    mode=docker
  fi
}

# Sets `wanted` to the names that shall run after this, without repetition.
choose_names() {
  local k name running; running=" $(on names | xargs) "
  wanted=()
  [ -z "$with_tracker" ] || wanted+=(tracker)
  for ((k = 1; count > 0; k++)); do
    name=node$k
    [ -n "$with_tracker" ] || [[ $running != *" $name "* ]] || continue
    wanted+=("$name")
    count=$((count - 1))
  done
  for name in "${named[@]}"; do
    [[ " ${wanted[*]} " == *" $name "* ]] || wanted+=("$name")
  done
}

# A node that starts while no tracker runs gets in through one that runs.
find_way_in() {
  local name address
  [ -z "${SHOAL_PEER-}" ] || return 0
  if [[ " ${wanted[*]} " == *" tracker "* ]] || on running tracker; then return 0; fi
  for name in $(on names); do
    address=$(on ctl "$name" --json getip 2>/dev/null | sed -n 's/.*"search":"\([^"]*\)".*/\1/p')
    [ -z "$address" ] || { export SHOAL_PEER=$address; return 0; }
  done
}

# Sets `started` to the names that did not run before.
start_missing() {
  local name running; running=" $(on names | xargs) "
  started=()
  for name in "${wanted[@]}"; do
    if [[ $running == *" $name "* ]]; then say "$name runs already"; continue; fi
    if [ "$name" = tracker ]; then
      mkdir -p "$logs/tracker"
      on start_tracker
      await_healthy tracker
    else
      prepare_folders "$name"
      on start_node "$name"
    fi
    started+=("$name")
  done
}

await_healthy() {
  await "$patience" healthy_or_gone "$1" || true
  on healthy "$1" || {
    note "the last lines of $1:"
    on last_words "$1" >&2
    if on running "$1"; then fail "$1 is not healthy after $patience s; its log is in $logs/$1"
    else fail "$1 ended right after its start; its log is in $logs/$1"; fi
  }
}

healthy_or_gone() { on healthy "$1" || { sleep 0.3; ! on running "$1"; }; }

report() {
  local name screen
  say ""
  for name in "${started[@]}"; do
    mapfile -t screen < <(on screen "$name")
    printf '%-10s %-22s %s\n' "$name" "$(on address "$name")" "$(printf '%q ' "${screen[@]#"$PWD/"}")"
  done
  say ""
  say "stop all with scripts/stop.sh; files are in $volumes, logs in $logs"
}

# Two that start at once would start the same names: one after the other.
mkdir -p "$logs"
exec 9<"$logs"
flock -n 9 || { note "another run.sh is starting: waiting for it"; flock 9; }
choose_mode
flags=(); [ "$mode" = docker ] || flags=(--local)
"$root/scripts/config.sh" "${flags[@]}" 9<&-
on check
choose_names
find_way_in
start_missing
exec 9<&-
for name in "${started[@]}"; do await_healthy "$name"; done
on running tracker || note "no tracker runs here; nodes that know of others go on with one of them as tracker"
[ ${#started[@]} -gt 0 ] || exit 0
report
[ "$terminal" != none ] || exit 0
for name in "${started[@]}"; do
  mapfile -t screen < <(on screen "$name")
  open_terminal "$terminal" "$name" "${screen[@]}"
done
[ "$terminal" != tmux ] || show_panes
