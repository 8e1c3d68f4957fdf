# shellcheck shell=bash
# The folders of the nodes and the set of files that they start with.

start_set=$root/docker/start-set
big_name=file.deb
big_size=393775740
big_nodes=(node1 node2 node3)

# Creates LOGS/NAME and, if it is not there, VOLUMES/NAME with its files of the starting set.
prepare_folders() {
  mkdir -p "$logs/$1"
  [ -d "$volumes/$1" ] || fill_volume "$1"
}

# Under another name first: an interrupted copy never looks like a finished one.
# The big file is generated once, the same bytes on every machine; the other nodes get copies.
generated=
fill_volume() {
  local name=$1 fresh=$volumes/.$1.new
  rm -rf "$fresh"
  mkdir -p "$fresh"
  if [ -d "$start_set/$name" ]; then cp -R "$start_set/$name/." "$fresh/"; fi
  if [[ " ${big_nodes[*]} " == *" $name "* ]]; then
    note "filling $volumes/$name, with a $big_name of $big_size bytes"
    big_file "$fresh/$big_name"
    generated=$volumes/$name/$big_name
  fi
  mv "$fresh" "$volumes/$name"
}

big_file() {
  if [ -n "$generated" ]; then
    cp --reflink=auto "$generated" "$1"
  else
    "$bin/shoal-node" sample "$1" --size "$big_size" --seed "$big_name" >&2
  fi || fail "could not write $1: is there room for $big_size bytes?"
}

# Deletes the folders that nodes used or that the set fills, then fills these anew.
restore_volumes() {
  local folder name
  mkdir -p "$volumes"
  for folder in "$volumes"/*/; do
    name=$(basename "$folder")
    if [ -d "$folder/.shoal" ] || [ -d "$start_set/$name" ]; then rm -rf "${volumes:?}/$name"; fi
  done
  for folder in "$start_set"/*/; do fill_volume "$(basename "$folder")"; done
}
