# shellcheck shell=bash
# Machines that are network namespaces: one switch, and a node behind each cable. Their names begin
# with `shoal-PID-`, so that two runs do not meet; no interface of this machine is touched.

net=shoal-$$

hub=$net-hub
node_ns() { echo "$net-$1"; }
node_ip() { echo "10.77.0.$((10 + $1))"; }
hub_ip=10.77.0.1

# Says why namespaces cannot be used here; nothing when they can.
netns_missing() {
  local said
  if [ "$(id -u)" -ne 0 ]; then echo "it needs root (network namespaces)"
  elif ! have ip || ! have tc; then echo "\`ip\` or \`tc\` is not installed (Debian: iproute2)"
  elif ! said=$(ip netns add "$net-probe" 2>&1); then echo "\`ip netns add\` does not work: $said"
  else
    said=$({ ip -n "$net-probe" link add probe type bridge &&
      tc -n "$net-probe" qdisc add dev probe root tbf rate 100mbit burst 64kb latency 50ms; } 2>&1) ||
      echo "a bridge or a \`tbf\` can't be made: $said"
    ip netns del "$net-probe"
  fi
}

# build_network COUNT RATE: nodes 0 to COUNT-1; what each sends is limited to RATE, as `tc` reads it.
build_network() {
  local k ns
  ip netns add "$hub"
  ip -n "$hub" link add switch type bridge
  ip -n "$hub" addr add "$hub_ip/24" dev switch
  ip -n "$hub" link set switch up
  ip -n "$hub" link set lo up
  for ((k = 0; k < $1; k++)); do
    ns=$(node_ns "$k")
    ip netns add "$ns"
    ip -n "$hub" link add "cable$k" type veth peer name uplink netns "$ns"
    ip -n "$hub" link set "cable$k" master switch up
    ip -n "$ns" addr add "$(node_ip "$k")/24" dev uplink
    ip -n "$ns" link set lo up
    ip -n "$ns" link set uplink up
    tc -n "$ns" qdisc add dev uplink root tbf rate "$2" burst 64kb latency 50ms
  done
}

# on NAMESPACE PROGRAM…: the process itself, so that `$!` is its pid.
on() { local ns=$1; shift; exec ip netns exec "$ns" "$@"; }

namespaces() { ip netns list | cut -d' ' -f1 | grep "^$net-" || true; }

# Ends every process within our namespaces, whoever started it.
end_processes() {
  local ns pid tries
  for tries in 1 2 3 4 5 6 7 8 9 10; do
    local left=''
    for ns in $(namespaces); do
      for pid in $(ip netns pids "$ns"); do left=yes; kill -KILL "$pid" 2>/dev/null || true; done
    done
    [ -n "$left" ] || return 0
    sleep 0.1
  done
  note "processes are left in the namespaces $net-*"
}

remove_network() {
  local ns
  end_processes
  for ns in $(namespaces); do ip netns del "$ns" || true; done
}
