#!/bin/bash
# export.sh — a USB disk with the right label on the bench machine: it is plugged in and gets the archive, is pulled out in the middle, plugged
# in again and gets the rest. The real unit, rule and binary; the disks are QEMU's, on its USB bus.
#
#   tests/vm/export.sh
#
# Env: as for test.sh
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
binary=${ONAIRD_BIN:-$project/target/release/onaird}
export ONAIRD_VM_CACHE=${ONAIRD_VM_CACHE:-$project/target/vm}

fail() {
  echo "export.sh: $*" >&2
  exit 1
}
[ -x "$binary" ] || fail "$binary is missing; build it first (cargo build --release) or set ONAIRD_BIN"
for tool in mkfs.ext4 mkfs.vfat systemd-analyze; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || fail "$tool not found; install the packages listed in tests/vm/packages.txt"
done
export PATH=$PATH:/usr/sbin:/sbin

systemd-analyze security --offline=true --threshold=20 --no-pager "$project/systemd/onaird-export@.service" >/dev/null ||
  fail "the unit is exposed more than 2.0 in the eyes of systemd-analyze"

mkdir -p "$ONAIRD_VM_CACHE"
out=$(mktemp -d "$(readlink -f "$ONAIRD_VM_CACHE")/export.XXXXXX")
passed=
machine=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  wait 2>/dev/null || true
  if [ -n "$passed" ] && [ "${ONAIRD_VM_KEEP:-}" != 1 ]; then rm -rf "$out"; else echo "export.sh: everything is in $out" >&2; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------- what the guest gets

product=$out/product
mkdir "$product"
cp "$binary" "$product/onaird"
cp "$project"/systemd/onaird.{service,sysusers.conf,tmpfiles.conf,modules.conf} "$project/udev/70-onaird.rules" "$product/"
cp "$project/systemd/onaird-export@.service" "$project/udev/71-onaird-export.rules" "$product/"
cat >"$product/onaird.toml" <<'CONFIG'
version = 1
[device]
name = "bench: box 7"
[program]
width = 320
height = 180
framerate = "10"
video_bitrate = "400k"
keyframe_interval = 1
[[input]]
name = "test"
kind = "test"
[archive]
directory = "/var/lib/onaird/archive"
segment_seconds = 3
keep_free = "0"
CONFIG
install -m 755 "$here/guest-install.sh" "$here/guest-export.sh" "$out/"
cat >"$out/install" <<'INSTALL'
#!/bin/bash
set -euo pipefail
/out/guest-install.sh
install -m 644 '/out/product/onaird-export@.service' /usr/lib/systemd/system/
install -m 644 /out/product/71-onaird-export.rules /usr/lib/udev/rules.d/
INSTALL

# ---------------------------------------------------------------- two disks, and hands to plug them

truncate -s 64M "$out/ext4.img" "$out/fat.img"
mkfs.ext4 -q -L ONAIR-EXPORT "$out/ext4.img"
mkfs.vfat -n ONAIREXPORT "$out/fat.img" >/dev/null
mkfifo "$out/hands.in" "$out/hands.out"
printf '%s\n' -chardev "pipe,id=hands,path=$out/hands" -mon chardev=hands,mode=readline -device qemu-xhci,id=usb >"$out/qemu"
# The guest asks by writing monitor commands into a file of its own for each wish.
cat "$out/hands.out" >"$out/hands.log" &
listener=$!
(
  exec 3<>"$out/hands.in"
  until [ -e "$out/rc" ]; do
    for wish in "$out"/wish.*; do
      [ -e "$wish" ] || continue
      sed "s|OUT|$out|g" "$wish" >&3
      rm "$wish"
    done
    sleep 0.2
  done
) &
hands=$!

"$here/run.sh" -o "$out" -p "$out/install" -q "$out/qemu" -- /out/guest-export.sh &
machine=$!
wait "$machine" && code=0 || code=$?
machine=
kill "$hands" "$listener" 2>/dev/null || true
[ "$code" = 0 ] || fail "the test in the guest failed (exit code $code)"
passed=1
cat "$out/figures"
