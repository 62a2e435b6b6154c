#!/bin/bash
# The inner test of export.sh, as root in the guest.
set -euo pipefail

archive=/var/lib/onaird/archive
device="bench_ box 7" # as every file system takes it

fail() {
  echo "FAILED: $*"
  status_json | jq .archive || true
  journalctl --no-pager -o short-monotonic -u 'onaird-export@*' -n 60 || true
  journalctl --no-pager -o short-monotonic -u onaird -n 20 || true
  lsblk -f || true
  exit 1
}
wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "$what, not even after $seconds s"
    sleep 0.3
  done
}
figure() { printf '%-46s %s\n' "$1" "$2" | tee -a /out/figures; }

wishes=0
wish() {
  wishes=$((wishes + 1))
  printf '%s\n' "$@" >/out/new-wish
  mv /out/new-wish "/out/wish.$wishes"
}
# plug NAME [OPTIONS]: the host's image of that name, and how QEMU is to treat it.
plug() { wish "drive_add 0 if=none,id=$1,format=raw,file=OUT/$1.img${2:-}" "device_add usb-storage,bus=usb.0,drive=$1,id=stick-$1"; }
pull() { wish "device_del stick-$1"; }

status_json() { timeout 10 onaird status --json 2>/dev/null; }
export_is() { status_json | jq -e --arg state "$1" '.archive.export.state == $state' >/dev/null; }
segments() { find "$archive" -name '*.mp4' 2>/dev/null | wc -l; }
has_segments() { [ "$(segments)" -ge "$1" ]; }
stick() { lsblk -rno NAME,TRAN | awk '$2 == "usb" { print $1; exit }'; }
no_stick() { [ -z "$(stick)" ]; }
some_done() { status_json | jq -e '.archive.export | .state == "running" and .files_done >= 1' >/dev/null; }
is_over() { ! systemctl is-active --quiet "$1"; }
unit_of() { echo "onaird-export@$1.service"; }

# check NAME COPIES: every file on the disk is what was recorded, and the manifest knows it.
check() {
  local copies=0 copy name manifest
  mkdir -p /run/look
  mount -o ro "/dev/$1" /run/look
  while read -r copy; do
    name=$(basename "$copy")
    cmp "$copy" "$archive/$name" || fail "$name is not what was recorded"
    manifest=$(find "$(dirname "$copy")" -name 'manifest-*.json')
    jq -e --arg name "$name" --arg hash "$(sha256sum <"$copy" | cut -d' ' -f1)" \
      '.device == "bench: box 7" and any(.segments[]; .file == $name and .sha256 == $hash and (.deleted | not))' "$manifest" >/dev/null ||
      fail "$manifest does not tell of $name as it is"
    copies=$((copies + 1))
  done < <(find "/run/look/$device" -name '*.mp4')
  [ -z "$(find /run/look -name '*.part')" ] || fail "a part was left on the disk"
  umount /run/look
  [ "$copies" -ge "$2" ] || fail "$copies files on the disk instead of $2 or more"
  echo "ok: $copies files on /dev/$1, each as it was recorded and in its manifest"
}

: >/out/figures
wait_for 150 "no three segments" has_segments 3

# ---------------------------------------------------------------- plugged in

begin=$SECONDS
plug ext4
wait_for 60 "the export did not begin or end" export_is done
figure "a disk of ext4: plugged in to safe to remove" "$((SECONDS - begin)) s, $(segments) segments"
name=$(stick)
[ "$(systemctl show -p ActiveState --value "$(unit_of "$name")")" = active ] || fail "the unit does not wait for the disk to be taken"
[ "$(stat -c %U "/proc/$(systemctl show -p MainPID --value "$(unit_of "$name")")")" = onaird ] || fail "it does not run as user onaird"
! grep -q "^/dev/$name " /proc/mounts || fail "the disk is mounted where everybody sees it"
status_json | jq -e 'any(.events[]; .text | endswith("safe to remove"))' >/dev/null || fail "nobody says that it is safe to remove"
onaird status | grep -q "is safe to remove" || fail "the status for people does not say it"
check "$name" 3
pull ext4
wait_for 30 "the disk is pulled out and still shown" export_is none
wait_for 30 "the unit goes on without a disk" is_over "$(unit_of "$name")"
echo "ok: pulled out, and no longer shown"

# ---------------------------------------------------------------- pulled out in the middle

wait_for 150 "no eight segments" has_segments 8
wait_for 30 "the first disk is still there" no_stick
plug fat ,throttling.bps-write=60000
wait_for 120 "the first file is not on the slow disk" some_done
name=$(stick)
pull fat
wait_for 120 "the disk was pulled out and nobody says so" export_is failed
status_json | jq -r '.archive.export.last_error' | tee /out/pulled
grep -q 'plug it in again' /out/pulled || fail "it does not say what to do"
status_json | jq -e 'any(.alarms[]; .id == "archive.export")' >/dev/null || fail "it is no alarm"
wait_for 60 "the unit has not ended" systemctl is-failed --quiet "$(unit_of "$name")"
wait_for 30 "the pulled disk is still there" no_stick

plug fat
wait_for 120 "the second attempt did not end" export_is done
check "$(stick)" 8
status_json | jq -e '.archive.state == "recording" and .archive.dropped_gops == 0' >/dev/null || fail "the recording was disturbed"
echo "ok: pulled out in the middle, plugged in again, all there; the recording lost nothing"
systemctl stop "$(unit_of "$(stick)")"
systemd-analyze verify '/usr/lib/systemd/system/onaird-export@.service' || fail "systemd-analyze finds fault with the unit"
