#!/usr/bin/env bash
# Builds both programs and, with Docker, their image. Does nothing when all is up to date.
source "$(dirname "$0")/lib/settings.sh"
source "$root/scripts/lib/docker.sh"

usage() {
  cat <<TEXT
usage: scripts/config.sh [--local] [--force]

Builds shoal-tracker and shoal-node into docker/bin and the Docker image \`$image\` from them.
Only what is missing or older than its sources is built. Without Rust on this machine the
programs are built inside Docker.

  --local     the programs only, no image
  --force     build even if all seems up to date
  -h, --help  this text
TEXT
}

programs=(shoal-tracker shoal-node)
stamp=$bin/.built          # says how the programs are linked; as old as the start of their build
local_only='' force=''
for argument in "$@"; do
  case $argument in
    --local) local_only=yes ;;
    --force) force=yes ;;
    -h|--help) usage; exit 0 ;;
    *) misuse "unknown argument \`$argument\`" ;;
  esac
done

up_to_date() {
  local program newer
  [ -z "$force" ] && [ -f "$stamp" ] || return 1
  [ -n "$local_only" ] || [ "$(<"$stamp")" = static ] || return 1
  for program in "${programs[@]}"; do [ -x "$bin/$program" ] || return 1; done
  newer=$(cd "$root" && find Cargo.toml Cargo.lock common tracker node -name target -prune -o -newer "$stamp" -type f -print -quit)
  [ -z "$newer" ]
}

# Says why Rust cannot be used here; nothing when it can.
rust_missing() {
  local need found
  need=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")
  if ! have cargo || ! have rustc; then echo "Rust (\`cargo\`) is not installed"; return; fi
  found=$(cd "$root" && rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$need" "$found" | sort -V | sed -n 1p)" = "$need" ] ||
    echo "Rust is $found here, Shoal needs $need or newer"
}

links_statically() {
  echo 'fn main() {}' | rustc -C target-feature=+crt-static -o "$scratch/probe" - >/dev/null 2>&1
}

build_with_cargo() {
  local kind=$1 host target flags=
  host=$(rustc -vV | sed -n 's/^host: //p')
  [ "$kind" = dynamic ] || flags='-C target-feature=+crt-static'
  note "building ${programs[*]} ($kind)"
  # `--target`, even though it is the host: without it the flag would reach proc-macros, which cannot be static.
  (cd "$root" && RUSTFLAGS="${RUSTFLAGS-} $flags" cargo build --release --bins --target "$host") >&2 ||
    fail "\`cargo build\` failed: its messages stand above"
  target=$(cd "$root" && cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  for program in "${programs[@]}"; do put_program "$target/$host/release/$program"; done
}

build_in_docker() {
  note "building ${programs[*]} inside Docker"
  docker build -f "$root/docker/Dockerfile" --target online -t "$image" "$root" >&2 ||
    fail "$no_rust, and the build inside Docker failed (its messages stand above):" \
         "install what is missing (Rust comes from rustup.rs), or give Docker a registry that has the \`rust\` image"
  container=$(docker create --name "${prefix}build-$$" --label "shoal=$project" "$image")
  for program in "${programs[@]}"; do
    docker cp "$container:/$program" "$scratch/$program" >/dev/null ||
      fail "\`$program\` could not be copied out of the image $image"
    put_program "$scratch/$program"
  done
}

# By rename: a program that runs keeps its old file.
put_program() {
  local name; name=$(basename "$1")
  cp "$1" "$bin/.$name.new"
  mv "$bin/.$name.new" "$bin/$name"
}

build_programs() {
  local kind=static started=$scratch/started
  touch "$started"
  if [ -z "$no_rust" ] && ! links_statically; then
    if [ -n "$local_only" ]; then kind=dynamic
    else no_rust="Rust cannot link statically here (the static C library is missing: \`glibc-static\` in Fedora)"; fi
  fi
  if [ -z "$no_rust" ]; then build_with_cargo "$kind"
  elif [ -z "$no_docker" ]; then build_in_docker
  else fail "cannot build Shoal: $no_rust, and $no_docker. Install Rust (rustup.rs) or Docker"
  fi
  echo "$kind" >"$started.kind"
  touch -r "$started" "$started.kind"
  mv "$started.kind" "$stamp"
}

# The image carries the hash of its programs, so that it is known when it is old.
build_image() {
  local hash output old
  hash=$(cd "$bin" && sha256sum "${programs[@]}" | sha256sum | cut -d' ' -f1)
  if [ -z "$force" ] && [ "$(docker image inspect -f '{{index .Config.Labels "shoal.programs"}}' "$image" 2>/dev/null)" = "$hash" ]; then
    return
  fi
  note "building the image $image"
  old=$(docker image ls -q --no-trunc "$image")
  output=$(docker build -f "$root/docker/Dockerfile" --target prebuilt -t "$image" \
    --label "shoal.programs=$hash" "$root" 2>&1) ||
    fail "\`docker build --target prebuilt\` failed: $output"
  # Where a container still uses the old one, it stays.
  [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
}

mkdir -p "$bin"
scratch=$(mktemp -d) container=
clean_up() {
  rm -rf "$scratch"
  [ -z "$container" ] || docker rm "$container" >/dev/null || true
}
trap clean_up EXIT
no_rust=$(rust_missing)
no_docker=$(docker_missing)
[ -n "$local_only" ] || [ -z "$no_docker" ] || fail "no image without Docker: $no_docker (\`--local\` builds the programs only)"

up_to_date || build_programs
if [ -z "$local_only" ]; then build_image; fi
