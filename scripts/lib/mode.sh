# shellcheck shell=bash
# The two ways to run, `docker` and `local`, behind one set of verbs: `on start_node node1`.

source "$root/scripts/lib/docker.sh"
source "$root/scripts/lib/local.sh"

on() { local verb=$1; shift; "${mode}_$verb" "$@"; }

# Stops what runs in one mode, or only the given names: nodes first, the tracker last. What ended
# by itself is cleared away without a word. Adds to `stopped` what ran.
stop_all() {
  local mode=$1 name names=() nodes=() tracker=() running=() ended=(); shift
  mapfile -t names < <(on names -a)
  mapfile -t running < <(on names)
  for name in "${names[@]}"; do
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    if [[ " ${running[*]} " != *" $name "* ]]; then ended+=("$name")
    elif [ "$name" = tracker ]; then tracker=(tracker); else nodes+=("$name"); fi
  done
  if [ ${#nodes[@]} -gt 0 ]; then note "stopping ${nodes[*]}"; on stop "${nodes[@]}"; fi
  if [ ${#tracker[@]} -gt 0 ]; then note "stopping the tracker"; on stop tracker; fi
  if [ ${#ended[@]} -gt 0 ]; then on stop "${ended[@]}"; fi
  stopped+=("${nodes[@]}" "${tracker[@]}")
}

# The same in both modes; Docker only where an engine answers.
stop_everywhere() {
  stopped=()
  stop_all local "$@"
  if have docker && docker info >/dev/null 2>&1; then stop_all docker "$@"; fi
}
