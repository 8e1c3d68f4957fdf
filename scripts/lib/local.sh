# shellcheck shell=bash
# The network as plain processes of this machine. LOGS/NAME/pid says which process a name is.

# The pid of a name, if that process is still the one we started.
local_pid() {
  local file=$logs/$1/pid pid
  [ -f "$file" ] || return 1
  pid=$(<"$file")
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  # Pids are used again: ours runs a Shoal program and writes to this folder.
  [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */shoal-* ]] &&
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -xF -- "$logs/$1" >/dev/null &&
    echo "$pid"
}

local_check() { :; }

local_running() { local_pid "$1" >/dev/null; }

# Names with a pid file; `local_names` the running ones, `local_names -a` all.
local_names() {
  local file name
  for file in "$logs"/*/pid; do
    [ -f "$file" ] || continue
    name=$(basename "$(dirname "$file")")
    if [ "${1-}" = -a ] || local_running "$name"; then echo "$name"; fi
  done | sort -V
}

# Node k has 127.0.0.(k+1); a node of another name one of 127.77.x.y, always the same.
local_ip() {
  if [[ $1 =~ ^node([1-9][0-9]{0,4})$ ]]; then
    number_to_ip $(((127 << 24) + BASH_REMATCH[1] + 1))
  else
    number_to_ip $(((127 << 24) + (77 << 16) + $(cksum <<<"$1" | cut -d' ' -f1) % 65000 + 1))
  fi
}

local_address() { if [ "$1" = tracker ]; then echo "$local_tracker"; else local_ip "$1"; fi; }

local_start_tracker() { spawn tracker shoal-tracker --listen "$local_tracker"; }

local_start_node() {
  spawn "$1" shoal-node --name "$1" --tracker "$local_tracker" --listen "$(local_ip "$1")" --files "$volumes/$1"
}

# spawn NAME PROGRAM FLAG…: in a session of its own, so that closing this terminal does not end it,
# and without run.sh's lock (9).
spawn() {
  local name=$1 program=$2; shift 2
  setsid "$bin/$program" "$@" --logs "$logs/$name" </dev/null >"$logs/$name/output" 2>&1 9<&- &
  echo $! >"$logs/$name/pid"
  disown
}

local_healthy() {
  if [ "$1" = tracker ]; then timeout 10 "$bin/shoal-tracker" health --listen "$local_tracker"
  else timeout 10 "$bin/shoal-node" health --files "$volumes/$1"; fi >/dev/null 2>&1
}

local_ctl() { local name=$1; shift; timeout "$patience" "$bin/shoal-node" ctl --files "$volumes/$name" "$@"; }

local_last_words() { tail -n 10 "$logs/$1/output"; }

local_screen() {
  if [ "$1" = tracker ]; then printf '%s\n' tail -n +1 --pid "$(local_pid tracker)" -F "$logs/tracker/output"
  else printf '%s\n' "$bin/shoal-node" attach --files "$volumes/$1"; fi
}

local_stop() {
  local name pid seconds
  for name in "$@"; do
    if pid=$(local_pid "$name"); then kill -TERM "$pid" 2>/dev/null || true; fi
  done
  for name in "$@"; do
    seconds=$(local_stop_grace "$name")
    if ! await "$seconds" local_gone "$name" && pid=$(local_pid "$name"); then
      note "\`$name\` (process $pid) did not stop within $seconds s: killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$logs/$name/pid"
  done
}

# Seconds that a process has to end: by the SHOAL_GRACE of its start, which may not be today's.
local_stop_grace() {
  local pid own=''
  if pid=$(local_pid "$1"); then
    own=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^SHOAL_GRACE=//p') || own=''
  fi
  if grace_seconds "$own"; then echo $((10#$own + 10)); else echo "$stop_grace"; fi
}

local_gone() { ! local_running "$1"; }
