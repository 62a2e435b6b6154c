#!/bin/bash
# run.sh — boots an emulated machine (QEMU, no KVM needed) and runs one command in it under systemd.
#
#   tests/vm/run.sh [-t SECONDS] [-m MEMORY] [-o DIR] [-p SCRIPT] [-q FILE] -- COMMAND [ARG...]
#
#   -t SECONDS  time limit for the whole machine (default 420, env ONAIRD_VM_TIMEOUT)
#   -m MEMORY   guest memory (default 2G)
#   -o DIR      directory shared with the guest as /out, read-write (default: a new one in the cache); kept
#   -p SCRIPT   run in the guest's root just before systemd starts: the place to install things
#   -q FILE     further arguments for QEMU, one a line: disks, cards
#
# The guest: Debian's own kernel; its root is the host's / read-only (9p) with a layer of guest-only packages and a tmpfs
# above it, so whatever is installed on the host is there too, and nothing the guest does reaches the host except /out.
# /tmp, /run, /dev, /proc, /sys are the guest's own. The host's loopback is 10.0.2.2; there is no route to anywhere else.
#
# Exit code: the command's; 124 if time ran out; 125 if there was no machine to run it in, with the reason on stderr.
# In DIR afterwards: log (the command's output), console.log (serial line), journal, rc, qemu.log.
#
# Env: ONAIRD_VM_CACHE (default target/vm) is filled at the first use (about 80 MB download, once per kernel version) and may be
#      deleted at any time. Wants root, since the guest reads all of the host's / through it.
set -euo pipefail
export LC_ALL=C # the answers of apt are read below

here=$(dirname "$(readlink -f "$0")")
cache=${ONAIRD_VM_CACHE:-$(readlink -f "$here/../..")/target/vm}
limit=${ONAIRD_VM_TIMEOUT:-420}
memory=2G
out=
prepare=
further=()

# Guest-only packages; those they depend on come along if the host lacks them. The kernel is added by version.
layer_packages=(udev kmod v4l-utils alsa-utils busybox-static)
# What the guest needs to find its root and its network. All else is loaded by udev or modprobe, as on a real machine.
early_modules=(virtio_pci 9p 9pnet_virtio overlay virtio_net)

say() { printf 'vm: %s\n' "$*" >&2; }
no_machine() { say "$*"; exit 125; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

while getopts t:m:o:p:q:h option; do
  case $option in
    t) limit=$OPTARG ;;
    m) memory=$OPTARG ;;
    o) out=$OPTARG ;;
    p) prepare=$OPTARG ;;
    q) mapfile -t further <"$OPTARG" ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage

# ---------------------------------------------------------------- what the machine is made of

check_host() {
  [ "$(uname -m)" = x86_64 ] || no_machine "the bench machine needs an x86-64 host, this is $(uname -m)"
  command -v apt-get dpkg-query >/dev/null || no_machine "the bench machine is built from Debian packages; this host has no apt"
  command -v qemu-system-x86_64 >/dev/null || no_machine "qemu-system-x86_64 not found; install the packages listed in tests/vm/packages.txt"
  [ -x /lib/systemd/systemd ] || no_machine "systemd not found; install the packages listed in tests/vm/packages.txt"
  [ "$(id -u)" = 0 ] || say "not root: files of the host that only root can read are missing in the guest"
}

# Old kernel versions leave the mirror, so the version is never written down: it is what linux-image-amd64 depends on today.
kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*-amd64\)$/\1/p' | head -n 1
}

# The given packages and, of all they depend on, what the host has not installed.
with_missing_dependencies() {
  local queue=("$@") seen=" " package
  while [ ${#queue[@]} -gt 0 ]; do
    package=${queue[0]}
    queue=("${queue[@]:1}")
    case $seen in *" $package "*) continue ;; esac
    seen+="$package "
    echo "$package"
    while read -r dependency; do
      [ "$(dpkg-query -W -f '${db:Status-Status}' "$dependency" 2>/dev/null)" = installed ] || queue+=("$dependency")
    done < <(apt-cache depends --important "$package" | sed -n 's/^  Depends: \([^<>]*\)$/\1/p')
  done
}

fetch() {
  rm -rf "$cache/debs"
  mkdir -p "$cache/debs"
  # As root, apt warns that its sandbox user cannot write here; the download works all the same.
  (cd "$cache/debs" && apt-get -q download "$@") >"$cache/download.log" 2>&1
}

# The layer is a directory that overlayfs puts above the host's root.
unpack_layer() {
  local deb directory
  rm -rf "$cache/layer"
  mkdir -p "$cache/layer"
  for deb in "$cache"/debs/*.deb; do dpkg -x "$deb" "$cache/layer"; done
  # A real /bin, /sbin or /lib in the layer would hide the root's symlinks of these names.
  for directory in bin sbin lib; do
    [ -d "$cache/layer/$directory" ] || continue
    mkdir -p "$cache/layer/usr/$directory"
    cp -a "$cache/layer/$directory/." "$cache/layer/usr/$directory/"
    rm -rf "${cache:?}/layer/$directory"
  done
  rm -rf "$cache/debs"
  ln -sf kmod "$cache/layer/usr/bin/depmod"
  ln -sf kmod "$cache/layer/usr/bin/modprobe"
  "$cache/layer/usr/bin/depmod" -b "$cache/layer/usr" "$kernel"
}

# One busybox, the early modules in loading order, and the files of the guest's side of this bench.
pack_initramfs() {
  local root=$cache/initramfs module file name
  rm -rf "$root"
  mkdir -p "$root/bin" "$root/modules" "$root/bench"
  cp "$cache/layer/usr/bin/busybox" "$root/bin/busybox"
  install -m 755 "$here/guest-init.sh" "$root/init"
  install -m 755 "$here/guest-run.sh" "$root/bench/run"
  install -m 644 "$here/bench.target" "$here/bench.service" "$root/bench/"
  : >"$root/modules/order"
  for module in "${early_modules[@]}"; do
    while read -r file; do
      name=$(basename "$file")
      name=${name%.ko*}.ko
      [ ! -e "$root/modules/$name" ] || continue
      case $file in
        *.xz) xz -dc "$file" >"$root/modules/$name" ;;
        *.zst) zstd -qdc "$file" >"$root/modules/$name" ;;
        *) cp "$file" "$root/modules/$name" ;;
      esac
      echo "$name" >>"$root/modules/order"
    done < <("$cache/layer/usr/bin/modprobe" -d "$cache/layer/usr" -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" { print $2 }')
  done
  (cd "$root" && find . | bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$cache/initramfs.gz"
}

build() {
  local package packages have want
  have=$(cat "$cache/kernel" 2>/dev/null || true)
  package=$(kernel_package)
  want=${package#linux-image-}
  if [ -z "$have" ] && [ -z "$want" ]; then
    no_machine "apt does not know linux-image-amd64; run 'apt-get update' and see that a Debian mirror is configured"
  fi
  if [ -n "$want" ] && [ "$want" != "$have" ]; then
    say "fetching kernel $want and the guest's packages (once)"
    mapfile -t packages < <(with_missing_dependencies "${layer_packages[@]}")
    if fetch "$package" "${packages[@]}"; then
      rm -f "$cache/kernel"
      kernel=$want
      unpack_layer
      echo "$want" >"$cache/kernel"
      have=$want
    elif [ -n "$have" ]; then
      say "could not fetch kernel $want, going on with $have (see $cache/download.log)"
    else
      cat "$cache/download.log" >&2
      no_machine "could not fetch kernel $want: the messages of apt-get are above; is a Debian mirror reachable?"
    fi
  fi
  kernel=$have
  pack_initramfs
}

# ---------------------------------------------------------------- running it

qemu=
follower=
# shellcheck disable=SC2317 # called by the trap
stop_children() {
  # 'timeout' passes the signal on to QEMU and kills it five seconds later.
  [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
  [ -z "$follower" ] || kill "$follower" 2>/dev/null || true
  wait 2>/dev/null || true
}

boot() {
  local shares
  share() { printf '%s\n' -fsdev "local,id=$1,path=$2,security_model=none$3" -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"; }
  # shellcheck disable=SC2054 # the commas are QEMU's
  local machine=(
    # Nehalem has what the media libraries can use without the AVX that is slow to emulate.
    -M q35,sata=off -accel "tcg,thread=multi,tb-size=512" -cpu Nehalem -smp 2 -m "$memory"
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$out/console.log"
    -kernel "$cache/layer/boot/vmlinuz-$kernel" -initrd "$cache/initramfs.gz"
    -device virtio-rng-pci
    -netdev "user,id=net" -device "virtio-net-pci,netdev=net,romfile="
  )
  local arguments=(
    console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr tsc=reliable
    net.ifnames=0 # the interface is set up before udev would rename it
    systemd.unit=bench.target systemd.show_status=0 systemd.mask=systemd-timesyncd.service
    "bench.limit=$limit"
  )
  mapfile -t shares < <(
    share hostroot / ",readonly=on,multidevs=remap"
    # A second export, though the layer is somewhere below / too: overlayfs refuses a layer that is inside another one.
    share layer "$cache/layer" ",readonly=on"
    share out "$out" ""
  )
  timeout -k 5 "$limit" qemu-system-x86_64 "${machine[@]}" "${shares[@]}" "${further[@]}" -append "${arguments[*]}" \
    </dev/null >"$out/qemu.log" 2>&1 &
  qemu=$!
  tail -q -n +1 -F --pid="$qemu" "$out/log" 2>/dev/null &
  follower=$!
  wait "$qemu" && status=0 || status=$?
  qemu=
  wait "$follower" || true
  follower=
}

show_failure() {
  local file
  for file in qemu.log console.log journal; do
    [ -s "$out/$file" ] || continue
    printf -- '---- the end of %s\n' "$out/$file" >&2
    tail -n 40 "$out/$file" | tr -d '\r' >&2
  done
  say "everything of this run is in $out"
}

check_host
mkdir -p "$cache"
cache=$(readlink -f "$cache")
if [ -z "$out" ]; then
  out=$(mktemp -d "$cache/run.XXXXXX")
fi
mkdir -p "$out"
out=$(readlink -f "$out")
rm -f "$out/rc" "$out/journal" "$out/prepare"
: >"$out/log"
printf '%q ' "$@" >"$out/command"
if [ -n "$prepare" ]; then
  install -m 755 "$prepare" "$out/prepare"
fi

trap stop_children EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Two runs at once would build into the same cache; the machines themselves do not mind each other.
exec 9>"$cache/lock"
flock 9
kernel=
build
exec 9>&-

started=$SECONDS
status=
boot
if [ -s "$out/rc" ]; then
  code=$(cat "$out/rc")
elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
  say "the machine was stopped at its time limit of $limit s"
  code=124
else
  say "the machine ended without a result (QEMU's exit code $status)"
  code=125
fi
[ "$code" = 0 ] || show_failure
say "exit code $code after $((SECONDS - started)) s, kernel $kernel"
exit "$code"
