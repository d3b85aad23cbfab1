#!/usr/bin/env bash
# Tries the README's commands as a stranger would: in a fresh Debian 12 with nothing installed, on a
# clone of HEAD. Usage: scripts/try_fresh_root.sh [--keep]   (as root; needs debootstrap and git)
#   --keep  leaves the fresh root in place and says where it is
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

suite=bookworm
commands=('./orrery predict experiments/deepseek_v3' './scripts/test')
keep=
case ${1-} in
  --keep) keep=yes ;;
  '') ;;
  *) die 64 "usage: scripts/try_fresh_root.sh [--keep]" ;;
esac

[[ $EUID -eq 0 ]] || die 69 "needs root, for debootstrap and chroot"
command -v debootstrap >/dev/null || die 69 "debootstrap is missing: apt-get install debootstrap"
for command in "${commands[@]}"; do
  grep -qsF -- "$command" "$root/README.md" ||
    die 65 "README.md does not have the command \`$command\`; it and this script must agree"
done
if [[ $(git -C "$root" status --porcelain) ]]; then
  say "note: uncommitted changes are not tried"
fi

# Prints the first URL that this machine's apt uses for Debian's main archive of the suite.
host_mirror() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    [[ -f $file ]] || continue
    awk -v suite="$suite" '
      # One-line format: deb [options] URL suite component...
      $1 == "deb" {
        sub(/\[[^]]*\]/, "")
        if ($3 == suite) print $2
      }
      # deb822 format: fields in paragraphs.
      $1 == "URIs:" { url = $2 }
      $1 == "Suites:" { for (i = 2; i <= NF; ++i) if ($i == suite) found = 1 }
      /^[ \t]*$/ { if (found) print url; found = 0 }
      END { if (found) print url }' "$file"
  done | head -n 1
}
mirror=$(host_mirror)
[[ $mirror ]] || die 69 "no Debian $suite mirror in /etc/apt/sources.list or sources.list.d"

fresh=$(mktemp -d --tmpdir orrery-fresh-root.XXXXXX)
clean_up() {
  umount -q "$fresh/proc" "$fresh/dev" || true
  if [[ $keep ]]; then
    say "the fresh root is $fresh"
  else
    rm -rf --one-file-system "$fresh"
  fi
}
trap clean_up EXIT

in_root() {  # in_root COMMAND: as a new user's login shell would run it, in the clone
  env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    chroot "$fresh" /bin/bash -c "cd /root/orrery && $1"
}

# shellcheck disable=SC2016
packages_in_root() { chroot "$fresh" dpkg-query -W -f '${Package}\n' | sort; }

timings=()
timed() {  # timed NAME COMMAND...
  local name=$1 start=$EPOCHREALTIME status=0
  shift
  printf '=== %s\n' "$name"
  "$@" || status=$?
  timings+=("$(awk -v a="$start" -v b="$EPOCHREALTIME" -v name="$name" \
    'BEGIN { printf "%7.1f s  %s", b - a, name }')")
  if ((status)); then
    die "$status" "failed with exit code $status: $name"
  fi
}

make_root() {
  debootstrap --variant=minbase "$suite" "$fresh" "$mirror" >"$fresh.log" 2>&1 ||
    { tail -n 20 "$fresh.log" >&2; return 69; }
  rm -f "$fresh.log"
  # What this machine needs to reach its mirror; a stranger's machine has its own.
  local file
  for file in /etc/resolv.conf /etc/hosts; do
    if [[ -f $file ]]; then cp -L "$file" "$fresh$file"; fi
  done
  { grep -ls 'Acquire::' /etc/apt/apt.conf /etc/apt/apt.conf.d/* || true; } |
    xargs -r cp -t "$fresh/etc/apt/apt.conf.d"
  mount -t proc proc "$fresh/proc"
  mount --bind /dev "$fresh/dev"
  git clone -q --no-hardlinks "$root" "$fresh/root/orrery"
}

timed "debootstrap $suite, clone of HEAD" make_root
before=$(packages_in_root)
for command in "${commands[@]}"; do
  timed "$command" in_root "$command"
done
timed "${commands[0]}   (again)" in_root "${commands[0]} >/dev/null"

printf '=== packages installed by the commands\n'
comm -13 <(printf '%s\n' "$before") <(packages_in_root) | paste -sd ' ' | fold -s -w 100
printf '\n=== times\n'
printf '%s\n' "${timings[@]}"
