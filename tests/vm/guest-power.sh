#!/bin/bash
# guest-power.sh LIFE [last]: one life of a machine whose power will be cut. Hands what earlier lives left on the data disk over to
# the host, says that the archive records, and waits for the end; in the last life it stops the daemon in good order instead.
#
#   /out/closed/       every closed segment, copied once; one that has changed since is a line in /out/faults
#   /out/life-N.log    what the daemon said of its archive
#   /out/life-N.verified  what `onaird archive verify` says of it, where there is that command
#   /out/life-N.ready  media of this life is on the disk
set -euo pipefail
life=$1
archive=/var/lib/onaird/archive

hand_over() {
  local file
  mkdir -p /out/closed
  for file in "$archive"/*.mp4; do
    if [ ! -e "/out/closed/${file##*/}" ]; then
      cp "$file" /out/closed/
    elif ! cmp -s "$file" "/out/closed/${file##*/}"; then
      echo "life $life: ${file##*/} is not what it was" | tee -a /out/faults
    fi
  done
  # As the daemon's user: what is made beside the index must stay writable for the daemon. A daemon without the command has no index.
  if onaird archive verify --help >/dev/null 2>&1; then
    setpriv --reuid=onaird --regid=onaird --init-groups onaird archive verify --directory "$archive" >"/out/life-$life.verified" 2>&1 ||
      { echo "life $life: onaird archive verify finds faults:"; cat "/out/life-$life.verified"; } | tee -a /out/faults
  fi
  file=$(find "$archive" -name '*.mp4.part' ! -newer /run/bench-begun)
  [ -z "$file" ] || echo "life $life: $file of an earlier life is still open" | tee -a /out/faults
  journalctl -b -u onaird --no-pager -o cat | grep 'archive' >"/out/life-$life.log" || true
}

shopt -s nullglob
read -r uptime _ </proc/uptime
touch -d "${uptime%.*} seconds ago" /run/bench-begun

for _ in {1..300}; do
  if timeout 5 onaird status --json 2>/dev/null | jq -e '.on_air and .archive.state == "recording" and .archive.written_bytes > 100000' >/dev/null; then
    hand_over
    touch "/out/life-$life.ready"
    [ "${2:-}" = last ] || exec sleep infinity
    systemctl stop onaird
    hand_over
    exit 0
  fi
  sleep 0.3
done
timeout 5 onaird status --json || true
systemctl status --no-pager --full onaird bench-data || true
exit 1
