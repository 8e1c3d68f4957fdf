#!/usr/bin/env bash
# End to end: a tracker and four nodes, started by run.sh and driven through `shoal-node ctl`.

# A project of its own, so that a running Shoal is left alone; two runs at once do not meet either.
here=$(cd "$(dirname "$0")/.." && pwd)
export SHOAL_PROJECT=shoal-e2e-$$
SHOAL_VOLUMES=$here/target/e2e-$$/VOLUMES SHOAL_LOGS=$here/target/e2e-$$/LOGS
export SHOAL_LOCAL_TRACKER=127.29.$(($$ >> 8 & 255)).$(($$ & 255)):12345
export SHOAL_HEARTBEAT=3
source "$here/scripts/lib/settings.sh"
source "$root/scripts/lib/mode.sh"
source "$root/scripts/lib/volumes.sh"

usage() {
  cat <<TEXT
usage: scripts/e2e.sh docker|local

Starts a network of its own, tries it, and removes it. One line for each check; the last line
counts them. Needs python3 (to read JSON), and for \`docker\` a Docker engine with compose.
TEXT
}

case ${1-} in
  docker|local) mode=$1; [ $# -eq 1 ] || misuse "unknown argument \`$2\`" ;;
  -h|--help) usage; exit 0 ;;
  '') misuse "say where to run" ;;
  *) misuse "unknown argument \`$1\`" ;;
esac
have python3 || fail "\`python3\` is not installed; the checks read JSON with it"
if [ "$mode" = docker ]; then
  missing=$(docker_missing)
  [ -z "$missing" ] || fail "$missing"
fi

passed=0 failed=0
place=$(dirname "$volumes")
output=$place/output
mkdir -p "$place"

clean_up() {
  stop_everywhere 2>/dev/null || true
  if [ "$mode" = docker ]; then docker image rm "$image" >/dev/null 2>&1 || true; fi
  rm -rf "$place"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- words for the checks ----

good() { say "ok $*"; passed=$((passed + 1)); }
bad() { say "not ok $*"; failed=$((failed + 1)); }

# check TEXT COMMAND…, within SECONDS TEXT COMMAND…: what the command printed explains a failure.
check() { within 0 "$@"; }
within() {
  local seconds=$1 text=$2; shift 2
  if await "$seconds" captured "$@"; then good "$text"; else
    bad "$text"
    sed 's/^/    /' "$output" | tail -n 20
  fi
}
captured() { "$@" >"$output" 2>&1; }

must() { "$@" >"$output" 2>&1 || { bad "$*"; cat "$output"; finish; }; }

finish() {
  say "$passed passed, $failed failed, 0 skipped"
  [ "$failed" -eq 0 ]
  exit
}

script() { SHOAL_VOLUMES=$volumes SHOAL_LOGS=$logs "$root/scripts/$1.sh" "${@:2}"; }
run() { script run "${flags[@]}" "$@"; }
flags=(); [ "$mode" = docker ] || flags=(--local)

# ctl NODE ARGUMENT…: no answer at all is a failure, too.
ctl() { on ctl "$@"; }

# reply NODE COMMAND… prints one JSON value; `query EXPRESSION` computes with it, `v` is the value.
reply() { local node=$1; shift; ctl "$node" --json "$@"; }
query() { python3 -c 'import json, sys; sys.tracebacklimit = 0; v = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# holds EXPRESSION NODE COMMAND…: whether the expression is true of the reply.
holds() {
  local expression=$1 value; shift
  value=$(reply "$@") || { echo "$value"; return 1; }
  echo "$value"
  [ "$(query "$expression" <<<"$value")" = True ]
}

sees() { holds "sorted(p['name'] for p in v) == sorted('$2'.split())" "$1" peers; }
has() { holds "any(f['name'] == '$2' for f in v)" "$1" show; }
lacks() { holds "all(f['name'] != '$2' for f in v)" "$1" show; }
tracker_says() { grep -ih -- "$1" "$logs"/tracker/*.log | grep -F -- "$2"; }

# Makes node4 forget the big file, so that it can be fetched again.
forget() {
  rm -f "$volumes/node4/$big_name"
  await 20 captured lacks node4 "$big_name" || { bad "node4 forgets a deleted file"; cat "$output"; finish; }
}

same_as_owner() { cmp "$volumes/node1/$big_name" "$volumes/node4/$big_name"; }

# ---- the checks ----

hex="__import__('re').fullmatch('[0-9a-f]{64}'"
address="__import__('re').fullmatch('[0-9.]+:[0-9]+'"

try_start() {
  must run -s 1 -n 4
  good "run.sh starts a tracker and four nodes"
  for node in node1 node2 node3 node4; do
    within 10 "$node sees the other three" sees "$node" "$(echo 'node1 node2 node3 node4' | sed "s/$node//")"
  done
  check "typed again, run.sh starts nothing" starts_nothing
}

starts_nothing() {
  local said
  said=$(run -s 1 -n 4 2>&1) && echo "$said" && ! grep -qv 'runs already$' <<<"$said"
}

try_questions() {
  check "peers: id, name, search and download of each" \
    holds "all($hex, p['id']) and $address, p['search']) and $address, p['download']) for p in v)" node1 peers
  within 30 "show: name, size and id, sub-folders too" \
    holds "{f['name']: f['size'] for f in v}.get('$big_name') == $big_size and any(f['name'] == 'recipes/herring-salad.txt' for f in v) and all($hex, f['id']) for f in v)" node3 show
  # Each owner hashes it first.
  within 30 "search finds the big file at its three owners" \
    holds "len(v) == 1 and v[0]['size'] == $big_size and sorted(v[0]['owners']) == ['node1', 'node2', 'node3']" node4 search "$big_name"
  within 30 "search by glob" holds "{'tides.csv'} <= {f['name'] for f in v}" node4 search '*.csv'
  check "one name with two contents is two files" \
    holds "len(v) == 2 and len({f['id'] for f in v}) == 2" node4 search notes.txt
  check "a name with spaces and accents is fetched" downloads node4 'Été à la mer.txt' all node3
  check "nobody has it: exit code 1" refused node4 download 'no such file' --from all
  check "the image among the small files is fetched" downloads node4 pictures/shoal.png 0 node2
  check "a folder is fetched as it is" fetches_folder node4 recipes node3
  check "a limit is set while the node runs, and taken off" limits node1
}

fetches_folder() {
  reply "$1" download "$2/" --from all >"$place/outcome" || { cat "$place/outcome"; return 1; }
  of_outcome "v['state'] == 'done' and v['files']['done'] == v['files']['total'] > 0" \
    && diff -r "$volumes/$3/$2" "$volumes/$1/$2"
}

limits() { holds "v['up'] == 50000000" "$1" limit up 50MB && holds "v['up'] is None" "$1" limit up off; }

# downloads NODE NAME FROM OWNER: the file comes, with the content that the owner has
downloads() {
  local value saved
  value=$(reply "$1" download "$2" --from "$3") || { echo "$value"; return 1; }
  echo "$value"
  saved=$(query "v['saved_as']" <<<"$value") && cmp "$volumes/$4/$2" "$volumes/$1/$saved"
}

refused() {
  local code=0
  ctl "$@" || code=$?
  echo "exit code $code"
  [ "$code" -eq 1 ]
}

try_big_file() {
  check "download from all owners" fetch_big all
  id=$(query "v['id']" <"$place/outcome") || id='no id'
  check "  its id is the owners'" holds "[f['id'] for f in v if f['name'] == '$big_name'] == ['$id']" node1 show
  check "  its content is the owners'" same_as_owner
  check "  each of three owners gave at least 15 %" \
    of_outcome "len(v['owners']) == 3 and min(o['bytes'] for o in v['owners']) >= 0.15 * $big_size"
  within 10 "node4 is an owner now" holds "'node4' in v[0]['owners']" node1 search "$big_name"
  forget
  check "download from position 0" fetch_big 0
  check "  its content is the owner's" same_as_owner
  check "  it is among the past downloads" holds "'$big_name' in [row['name'] for row in v]" node4 stats
  check "  one owner gave all" of_outcome "[o['bytes'] for o in v['owners'] if o['bytes']] == [$big_size]"
}

fetch_big() { reply node4 download "$big_name" --from "$1" >"$place/outcome" && cat "$place/outcome"; }
of_outcome() { cat "$place/outcome"; [ "$(query "$1" <"$place/outcome")" = True ]; }

# Seconds of `cp` and of downloads from one owner and from three, taken in turns; prints medians.
measure() {
  local round start copy=() one=() three=()
  for round in 1 2 3; do
    forget
    start=$(now); cp "$volumes/node1/$big_name" "$place/copy"; copy+=($(($(now) - start))); rm "$place/copy"
    must fetch_big node1; one+=("$(query "int(v['seconds'] * 1e6)" <"$place/outcome")")
    forget
    must fetch_big all; three+=("$(query "int(v['seconds'] * 1e6)" <"$place/outcome")")
  done
  report_speed "cp" "${copy[@]}"
  report_speed "from 1 owner" "${one[@]}"
  report_speed "from 3 owners" "${three[@]}"
}

report_speed() {
  local what=$1 median; shift
  median=$(printf '%s\n' "$@" | sort -n | sed -n 2p)
  printf '   %-14s %d.%03d s  %5d MB/s   (median of 3, %d bytes)\n' "$what" \
    $((median / 1000000)) $((median / 1000 % 1000)) $((big_size / median)) "$big_size"
}

try_faults() {
  docker kill -s KILL "${prefix}node3" >/dev/null
  within 15 "a killed node vanishes from the peers" sees node1 'node2 node4'
  check "  the tracker's log says so" tracker_says 'without a word' node3
  must run -nn node3
  within 10 "started again, it is back" sees node1 'node2 node3 node4'

  # It waits for the node's end, with which the container and all in it end: whichever is seen first
  # decides its exit code. What counts is checked below.
  ctl node2 exit >/dev/null || true
  within 1 "a node that exits is gone within a second" sees node1 'node3 node4'
  within 40 "  its container has ended" eval '! docker_running node2'
  must run -nn node2
  within 10 "  and it comes back" sees node1 'node2 node3 node4'

  forget
  slow_owners 0.02
  must ctl node4 download "$big_name" --from all --detach
  within 10 "a slowed download is under way" under_way
  docker kill -s KILL "${prefix}tracker" >/dev/null
  sleep 1
  check "  it goes on while the tracker is dead" under_way
  must run -s 1
  within 10 "  the tracker, started again, is told of all nodes" sees node1 'node2 node3 node4'
  free_owners
  within 60 "  the download ends" has node4 "$big_name"
  check "  its content is the owners'" same_as_owner

  forget
  slow_owners 0.02
  must ctl node4 download "$big_name" --from all --detach
  within 10 "a slowed download is under way" under_way
  docker kill -s KILL "${prefix}node4" >/dev/null
  check "  killed in the middle, no file has the final name" [ ! -e "$volumes/node4/$big_name" ]
  free_owners
  must run -nn node4
  within 60 "  started again, the download resumes by itself and ends" has node4 "$big_name"
  check "  its content is the owners'" same_as_owner
  check "  what had arrived was not fetched again" \
    holds "v[0]['resumed'] > 0 and sum(o['bytes'] for o in v[0]['owners']) < $big_size" node4 jobs
}

# The tracker dies in the middle of a download and a conversation, and comes back.
try_succession() {
  local node
  within 10 "the home tracker is in office" in_office node1 home
  check "a line that is said is accepted" holds "v['accepted']" node1 say 'good morning'
  within 10 "  and comes to the others" hears node4 'good morning'
  forget
  for node in node1 node2 node3; do must ctl "$node" limit up 6MB; done
  must ctl node4 download "$big_name" --from all --detach
  within 10 "a slowed download is under way" under_way
  : >"$place/accepted"
  for node in node1 node2 node3; do talk "$node" & talkers+=($!); done
  goes_on "the talk"
  docker kill -s KILL "${prefix}tracker" >/dev/null
  within 3 "within three seconds of the tracker's death another one is in office" in_office node1 successor
  for node in node2 node3 node4; do within 5 "  $node follows it" in_office "$node" successor; done
  reply node1 tracker | query "v['epoch']" >"$place/epoch"
  check "  the download goes on" under_way
  must run -nn node5
  within 10 "a newcomer gets in through a node" sees node5 'node1 node2 node3 node4'
  within 10 "  and hears what was said before" hears node5 'good morning'
  goes_on "the talk, under the successor"
  must run -s 1
  within 15 "the home tracker, started again, is in office" in_office node1 home
  for node in node2 node3 node4 node5; do within 5 "  $node follows it" in_office "$node" home; done
  check "  under a later epoch" holds "v['epoch'] > $(cat "$place/epoch")" node1 tracker
  goes_on "the talk, under the home tracker"
  rm "$place/talking"
  for node in "${talkers[@]}"; do wait "$node"; done
  for node in node1 node2 node3; do must ctl "$node" limit up off; done
  within 60 "the download ends" has node4 "$big_name"
  check "  its content is the owners'" same_as_owner
  check "something was said all the time" [ "$(wc -l <"$place/accepted")" -ge 30 ]
  within 20 "every line that was accepted is in each history once, in one order" same_histories
  must ctl node5 exit
  within 10 "  and so are the transcripts" same_transcripts
}

in_office() { holds "v['role'] == '$2' and v['contact'] != 'lost'" "$1" tracker; }
hears() { holds "[l['text'] for l in v].count('$2') == 1" "$1" history 1000; }

# Lines are accepted from now on.
goes_on() { within 20 "  $1 goes on" said $(($(wc -l <"$place/accepted") + 10)); }
said() { [ "$(wc -l <"$place/accepted")" -ge "$1" ]; }

# Says lines one after the other, and notes which of them were accepted.
talkers=()
talk() {
  local node=$1 k
  touch "$place/talking"
  for ((k = 1; k <= 300; k++)); do
    [ -e "$place/talking" ] || return 0
    if reply "$node" say "$node line $k" 2>/dev/null | grep -F '"accepted":true' >/dev/null; then
      echo "$node line $k" >>"$place/accepted"
    fi
  done
}

same_histories() {
  local node
  for node in node1 node2 node3 node4 node5; do
    reply "$node" history 1000 >"$place/history-$node" || return 1
    query "'\n'.join(l['text'] for l in v if l['kind'] == 'user')" <"$place/history-$node" >"$place/said-$node"
    cmp "$place/said-node1" "$place/said-$node" || return 1
  done
  wc -l "$place/said-node1" "$place/accepted"
  [ -z "$(sort "$place/said-node1" | uniq -d)" ] &&
    [ -z "$(comm -13 <(sort "$place/said-node1") <(sort "$place/accepted"))" ]
}

# The last one came in the middle.
same_transcripts() {
  local node
  for node in node1 node2 node3 node4 node5; do transcript_of "$node" >"$place/written-$node"; done
  grep ' line ' "$place/said-node1" >"$place/lines"
  for node in node1 node2 node3 node4; do cmp "$place/lines" "$place/written-$node" || return 1; done
  tail -n "$(wc -l <"$place/written-node5")" "$place/lines" | cmp - "$place/written-node5" &&
    [ -s "$place/written-node5" ]
}

transcript_of() {
  local file
  for file in "$logs/$1"/chat_log_*.log; do
    sed -n "s/.* \(node[0-9]*\): \(node[0-9]* line [0-9]*\)$/\2/p" "$file"
  done
}

# A small share of a processor is a slow owner; it needs no rights on this machine.
slow_owners() { docker update --cpus "$1" "${prefix}node1" "${prefix}node2" "${prefix}node3" >/dev/null; }
free_owners() { slow_owners "$(docker info -f '{{.NCPU}}')"; }

under_way() { holds "any(0 < j['done'] < $big_size for j in v)" node4 jobs; }

try_reset() {
  echo changed >"$volumes/node1/notes.txt"
  must script reset -v
  check "reset.sh -v restores every folder" restored
  check "reset.sh clears the logs" [ -z "$(ls -A "$logs")" ]
  check "nothing is left running" nothing_left
}

restored() {
  local node size
  for node in node1 node2 node3 node4; do
    diff -r -x "$big_name" "$start_set/$node" "$volumes/$node" || return 1
    size=none
    [ ! -e "$volumes/$node/$big_name" ] || size=$(stat -c %s "$volumes/$node/$big_name")
    echo "$node: size of $big_name: $size"
    case $node in node4) [ "$size" = none ] ;; *) [ "$size" = "$big_size" ] ;; esac || return 1
  done
}

# No process of this run, no container, no network.
nothing_left() {
  local process left=''
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/exe") == "$bin"/shoal-* ]] && grep -qsaF -- "$place" "$process/cmdline" && left+=" ${process#/proc/}"
  done
  [ "$mode" = local ] ||
    left+=$(docker ps -aq --filter "label=shoal=$project"; docker network ls -q --filter "label=shoal=$project")
  echo "left: $left"
  [ -z "$left" ]
}

# The first subnet that no network here uses.
choose_subnet() {
  local k
  for k in 29 28 27 26 25 24 23 22; do
    export SHOAL_SUBNET=172.$k.0.0/16
    subnet=$SHOAL_SUBNET
    if (docker_check) 2>/dev/null; then return; fi
  done
  fail "every subnet from 172.22.0.0/16 to 172.29.0.0/16 is used by a Docker network: remove one (\`docker network ls\`)"
}

[ "$mode" = local ] || choose_subnet
try_start
try_questions
try_big_file
measure
if [ "$mode" = docker ]; then try_faults; try_succession; fi
try_reset
finish
