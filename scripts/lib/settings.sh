# shellcheck shell=bash
# What can be set, the words for messages, and the addresses that follow from the subnet.
# Sourced by every script of this folder; each setting can also come from the environment.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

project=${SHOAL_PROJECT:-shoal}                 # label of all that is ours; other than `shoal`: also prefix of container names
subnet=${SHOAL_SUBNET:-172.20.0.0/16}           # of the Docker network; the tracker gets its address number 2
volumes=${SHOAL_VOLUMES:-$root/VOLUMES}         # VOLUMES/nodeN is what node N shares
logs=${SHOAL_LOGS:-$root/LOGS}                  # LOGS/nodeN, LOGS/tracker
local_tracker=${SHOAL_LOCAL_TRACKER:-127.0.0.1:12345}   # the tracker's address with --local
patience=${SHOAL_PATIENCE:-60}                  # seconds that a tracker or a node has to become healthy
grace=${SHOAL_GRACE-30}                         # seconds that a node waits for running transfers before it leaves

port=12345                                      # the tracker's, in Docker
bin=$root/docker/bin
image=$project:latest
prefix=; [ "$project" = shoal ] || prefix=$project-

# In a program of ours SHOAL_LOGS means something else (its own folder): never hand it down.
export -n SHOAL_LOGS SHOAL_VOLUMES 2>/dev/null || true

say()  { printf '%s\n' "$@"; }       # a line for each argument
note() { printf '%s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

# Ends with exit code 64 after saying what was wrong; the script defines `usage`.
misuse() { printf 'error: %s\n\n' "$*" >&2; usage >&2; exit 64; }

have() { command -v "$1" >/dev/null 2>&1; }

now() { echo "${EPOCHREALTIME/[.,]/}"; }      # in microseconds

# await SECONDS COMMAND…: runs it until it succeeds; fails when the time is over.
await() {
  local end=$(($(now) + $1 * 1000000)); shift
  until "$@"; do
    [ "$(now)" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# A name becomes a folder, a container and a host name.
valid_name() { [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$ && $1 != tracker ]]; }

number() { [[ $1 =~ ^[0-9]{1,4}$ ]]; }

# As the node takes it: up to a day.
grace_seconds() { [[ $1 =~ ^[0-9]{1,5}$ ]] && ((10#$1 <= 86400)); }

ip_to_number() {
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  echo $(((10#$a << 24) + (10#$b << 16) + (10#$c << 8) + 10#$d))
}

number_to_ip() { echo "$(($1 >> 24 & 255)).$(($1 >> 16 & 255)).$(($1 >> 8 & 255)).$(($1 & 255))"; }

# Sets `first` and `last` to the bounds of a subnet like 172.20.0.0/16.
bounds() {
  local base=${1%/*} bits=${1#*/} size
  size=$((1 << (32 - bits)))
  first=$(($(ip_to_number "$base") / size * size))
  last=$((first + size - 1))
}

[[ $project =~ ^[a-z0-9][a-z0-9_-]*$ ]] ||
  fail "SHOAL_PROJECT is \`$project\`: use small letters, digits, \`-\` and \`_\`"
[[ $subnet =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$ && ${subnet#*/} -ge 8 && ${subnet#*/} -le 28 ]] ||
  fail "SHOAL_SUBNET is \`$subnet\`: use a subnet between /8 and /28, like 172.20.0.0/16"
[[ $local_tracker =~ ^127\.[0-9.]+:[0-9]+$ ]] ||
  fail "SHOAL_LOCAL_TRACKER is \`$local_tracker\`: use an address of this machine, like 127.0.0.1:12345"
grace_seconds "$grace" || fail "SHOAL_GRACE is \`$grace\`: use a whole number of seconds between 0 and 86400"
stop_grace=$((10#$grace + 10))                  # seconds that a node has to end once it is told to

for setting in "SHOAL_VOLUMES $volumes" "SHOAL_LOGS $logs"; do
  [[ ${setting#* } == /* ]] || fail "${setting%% *} is \`${setting#* }\`: use an absolute path"
done

bounds "$subnet"
gateway=$(number_to_ip $((first + 1)))
tracker_ip=$(number_to_ip $((first + 2)))
node_range=$(number_to_ip $((first + (last - first + 1) / 2)))/$((${subnet#*/} + 1))
