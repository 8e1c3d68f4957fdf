# shellcheck shell=bash
# The network as containers. Only what carries the label `shoal=PROJECT` is ever touched.

# Says why Docker cannot be used here; nothing when it can.
docker_missing() {
  if ! have docker; then echo "\`docker\` is not installed"
  elif ! docker info >/dev/null 2>&1; then echo "no Docker engine answers \`docker info\`"
  elif ! docker compose version >/dev/null 2>&1 && ! have docker-compose; then
    echo "neither \`docker compose\` nor \`docker-compose\` is installed"
  fi
}

compose() {
  local program=(docker-compose)
  if docker compose version >/dev/null 2>&1; then program=(docker compose); fi
  SHOAL_PROJECT=$project SHOAL_PREFIX=$prefix SHOAL_IMAGE=$image SHOAL_USER=$(id -u):$(id -g) \
  SHOAL_LOGS=$logs SHOAL_SUBNET=$subnet SHOAL_GATEWAY=$gateway SHOAL_NODE_RANGE=$node_range \
  SHOAL_TRACKER_IP=$tracker_ip SHOAL_PORT=$port SHOAL_STOP_GRACE=$stop_grace \
    "${program[@]}" -p "$project" -f "$root/docker-compose.yml" "$@"
}

# Like `compose`, but silent unless it fails.
quiet_compose() {
  local output
  output=$(compose "$@" 2>&1 </dev/null) || fail "\`compose $*\` failed: $output"
}

# Names of our containers, without prefix; `docker_names` the running ones, `docker_names -a` all.
docker_names() {
  docker ps "$@" --filter "label=shoal=$project" --format '{{.Names}}' | sed "s/^$prefix//" | sort -V
}

# Never `grep -q` behind a pipe: it ends early, and with `pipefail` the writer's SIGPIPE counts.
docker_running() { docker_names | grep -xF -- "$1" >/dev/null; }

docker_address() {
  if [ "$1" = tracker ]; then echo "$tracker_ip:$port"; else
    docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$prefix$1"
  fi
}

docker_start_tracker() {
  clear_name tracker
  quiet_compose up -d --no-deps tracker
}

docker_start_node() {
  clear_name "$1"
  quiet_compose run -d -T --no-deps --name "$prefix$1" -e "SHOAL_NAME=$1" \
    -v "$volumes/$1:/files" -v "$logs/$1:/logs" node
}

docker_healthy() {
  local binary=/shoal-node; [ "$1" != tracker ] || binary=/shoal-tracker
  timeout 10 docker exec "$prefix$1" "$binary" health >/dev/null 2>&1
}

# docker_ctl NAME ARGUMENT…: one command to the node in that container.
docker_ctl() { local name=$1; shift; timeout "$patience" docker exec "$prefix$name" /shoal-node ctl "$@"; }

docker_last_words() { docker logs --tail 10 "$prefix$1" 2>&1; }

# The command that shows a node's terminal, or the tracker's screen; one word per line.
# From this machine where its socket can be reached: `docker exec` would leave a process behind
# in the container whenever a window is closed.
docker_screen() {
  if [ "$1" = tracker ]; then printf '%s\n' docker logs -f "${prefix}tracker"
  elif timeout 10 "$bin/shoal-node" health --files "$volumes/$1" >/dev/null 2>&1; then
    printf '%s\n' "$bin/shoal-node" attach --files "$volumes/$1"
  else printf '%s\n' docker exec -it "$prefix$1" /shoal-node attach; fi
}

# Stops and removes; the network goes with the last container. Without `-t` each container has the
# time that its own SHOAL_GRACE gave it at its start (`stop_grace_period`).
docker_stop() {
  local names=("${@/#/$prefix}") network
  docker stop "${names[@]}" >/dev/null
  docker rm "${names[@]}" >/dev/null
  [ -z "$(docker_names -a)" ] || return 0
  network=$(docker network ls -q --filter "label=shoal=$project")
  [ -z "$network" ] || docker network rm "$network" >/dev/null
}

# Removes our own stopped container of this name; refuses when the name is somebody else's.
clear_name() {
  local owner
  owner=$(docker inspect --type container -f '{{index .Config.Labels "shoal"}}' "$prefix$1" 2>/dev/null) || return 0
  [ "$owner" = "$project" ] ||
    fail "a container \`$prefix$1\` exists that is not Shoal's: rename it (\`docker rename $prefix$1 …\`)," \
         "or give Shoal's containers a prefix (\`SHOAL_PROJECT=other $0 …\`)"
  docker rm "$prefix$1" >/dev/null
}

# Docker refuses overlapping networks with a message that names neither; so look first.
docker_check() {
  local name owner taken ours_first ours_last
  bounds "$subnet"; ours_first=$first ours_last=$last
  while read -r name owner taken; do
    [[ $taken =~ ^[0-9.]+/[0-9]+$ ]] || continue
    if [ "$name" = "$project" ] && [ "$owner" = "$project" ]; then
      [ "$taken" = "$subnet" ] ||
        fail "Shoal's network runs on $taken, not on $subnet: \`scripts/stop.sh\` first, then start again"
      continue
    fi
    bounds "$taken"
    [ "$first" -gt "$ours_last" ] || [ "$last" -lt "$ours_first" ] ||
      fail "the Docker network \`$name\` ($taken) overlaps with Shoal's $subnet: choose another subnet" \
           "(\`SHOAL_SUBNET=172.30.0.0/16 $0 …\`, or its line in scripts/lib/settings.sh)," \
           "or remove that network if nobody needs it (\`docker network rm $name\`)"
  done < <(docker_subnets)
}

# NAME OWNER SUBNET of every network; OWNER is `-` when it is not Shoal's.
docker_subnets() {
  local networks
  networks=$(docker network ls -q)
  # shellcheck disable=SC2086,SC2016
  docker network inspect $networks --format \
    '{{$n := .}}{{range .IPAM.Config}}{{$n.Name}} {{with index $n.Labels "shoal"}}{{.}}{{else}}-{{end}} {{.Subnet}}{{"\n"}}{{end}}'
}
