# Shared by ./orrery and scripts/*, which set `root` (the repository) before sourcing this file.
# Everything here writes to stderr: stdout belongs to the program that is run in the end.
# shellcheck shell=bash
: "${root:?}"

say() { printf 'orrery: %s\n' "$*" >&2; }

die() {  # die EXIT_CODE MESSAGE...
  local code=$1
  shift
  say "$@"
  exit "$code"
}

# configure_preset PRESET [CMAKE ARGUMENTS...]: installs what is missing, then configures build/PRESET.
configure_preset() {
  local log="$root/build/$1/configure.log"
  "$root/scripts/setup" || exit
  mkdir -p "$root/build/$1"
  say "configuring build/$1"
  if ! (cd "$root" && cmake --preset "$@") >"$log" 2>&1; then
    cat "$log" >&2
    die 70 "configuring failed; cmake's output is above and in $log"
  fi
}

# build_preset PRESET TARGET...: builds the targets in build/PRESET, which is configured on first use.
# Prints next to nothing when all is well, and costs about 20 ms when nothing is to be done.
# ORRERY_JOBS limits the number of compilers at a time.
build_preset() {
  local preset=$1 dir="$root/build/$1"
  local log="$dir/build.log"
  shift
  [[ -d $dir ]] || mkdir -p "$dir"
  exec 9>"$dir/.lock"
  flock 9  # two builds in one folder would overwrite each other's files
  [[ -f $dir/build.ninja ]] || configure_preset "$preset"
  if ! ninja -C "$dir" ${ORRERY_JOBS:+-j "$ORRERY_JOBS"} "$@" 2>&1 | show_progress "$log"; then
    cat "$log" >&2
    die 70 "the build failed; its output is above and in $log"
  fi
  exec 9>&-
}

# Copies ninja's output to the log. On a terminal it shows one changing line, else it says once that
# it builds; when nothing is to be built it says nothing.
show_progress() {
  local line announced=
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line =~ ^\[[0-9]+/[0-9]+\] && $line != *'Re-checking globbed directories'* ]] || continue
    if [[ ! $announced ]]; then say "building (log: $1)"; fi
    announced=yes
    if [[ -t 2 ]]; then printf '\r%s' "${BASH_REMATCH[0]}" >&2; fi
  done >"$1"
  if [[ $announced && -t 2 ]]; then printf '\r\033[K' >&2; fi
}
