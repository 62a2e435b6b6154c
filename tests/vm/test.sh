#!/bin/bash
# test.sh — the product on a whole (emulated) machine: two real RTMP origins on this host's loopback, and a guest with a capture
# card in which the product's own unit, users and udev rule are installed and the daemon is booted, killed, frozen and stopped.
#
#   tests/vm/test.sh
#
# Env: ONAIRD_BIN       the daemon to install (default target/release/onaird)
#      ONAIRD_VM_CACHE  see run.sh; results go to a directory in there, which is kept only if something failed or
#      ONAIRD_VM_KEEP   is 1
#      ONAIRD_VM_ON_AIR_LIMIT  seconds from SIGKILL to on air that pass (default 20: the CPU is emulated and the host may be busy;
#                       the figure is what counts)
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
binary=${ONAIRD_BIN:-$project/target/release/onaird}
export ONAIRD_VM_CACHE=${ONAIRD_VM_CACHE:-$project/target/vm}

fail() {
  echo "test-vm: $*" >&2
  exit 1
}

[ -x "$binary" ] || fail "$binary is missing; build it first (cargo build --release) or set ONAIRD_BIN"
for tool in nginx ffmpeg ffprobe jq systemd-analyze; do
  command -v "$tool" >/dev/null || fail "$tool not found; install the packages listed in tests/vm/packages.txt"
done
rtmp_module=/usr/lib/nginx/modules/ngx_rtmp_module.so
[ -e "$rtmp_module" ] || fail "nginx has no RTMP module; install the packages listed in tests/vm/packages.txt"

mkdir -p "$ONAIRD_VM_CACHE"
out=$(mktemp -d "$(readlink -f "$ONAIRD_VM_CACHE")/test.XXXXXX")
chmod 755 "$out"
passed=
declare -A origin_pid=()
machine=
cleanup() {
  local pid
  for pid in $machine "${origin_pid[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ -n "$passed" ] && [ "${ONAIRD_VM_KEEP:-}" != 1 ]; then
    rm -rf "$out"
  else
    echo "test-vm: logs and recordings are in $out" >&2
  fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------- origins

# An nginx of its own, with everything it writes below $out, that records each publication into a file of its own.
start_origin() {
  local name=$1 port attempt
  mkdir -p "$out/nginx-$name" "$out/origin-$name"
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    port=$((20000 + RANDOM % 12000)) # below the ephemeral ports
    cat >"$out/nginx-$name/nginx.conf" <<CONF
load_module $rtmp_module;
$([ "$(id -u)" != 0 ] || echo 'user root;') # the worker writes the recordings
daemon off;
worker_processes 1;
pid $out/nginx-$name/nginx.pid;
error_log $out/nginx-$name/error.log info;
events { worker_connections 64; }
rtmp {
  server {
    listen 127.0.0.1:$port;
    application live {
      live on;
      record all;
      record_path $out/origin-$name;
      record_unique on;
    }
  }
}
CONF
    nginx -p "$out/nginx-$name" -c "$out/nginx-$name/nginx.conf" 2>>"$out/nginx-$name/stderr.log" &
    origin_pid[$name]=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      kill -0 "${origin_pid[$name]}" 2>/dev/null || continue 2 # most likely the port was taken
      if [ -s "$out/nginx-$name/nginx.pid" ] && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        origin_port[$name]=$port
        return
      fi
      sleep 0.1
    done
    kill "${origin_pid[$name]}" 2>/dev/null || true
    wait "${origin_pid[$name]}" || true
  done
  cat "$out/nginx-$name/stderr.log" >&2
  fail "origin $name did not start ($attempt attempts)"
}

# ---------------------------------------------------------------- what the guest gets

fill_product() {
  local product=$out/product
  mkdir "$product"
  cp "$binary" "$product/onaird"
  cp "$project"/systemd/onaird.{service,sysusers.conf,tmpfiles.conf,modules.conf} "$project/udev/70-onaird.rules" "$product/"
  cat >"$product/onaird.toml" <<CONFIG
version = 1
[device]
name = "bench"
[program]
width = 640
height = 360
framerate = "15"
video_bitrate = "800k"
keyframe_interval = 2
encoder = "auto"
input = "camera"
[[input]]
name = "camera"
kind = "v4l2"
device = "/dev/onair/capture-0"
audio = "none"
[archive]
directory = "/var/lib/onaird/archive"
[[leg]]
name = "a"
[[leg.origin]]
url = "rtmp://10.0.2.2:${origin_port[a]}/live"
stream_key = "bench-a"
[[leg]]
name = "b"
[[leg.origin]]
url = "rtmp://10.0.2.2:${origin_port[b]}/live"
stream_key = "bench-b"
CONFIG
}

# ---------------------------------------------------------------- what the origins got

check_recording() {
  local file=$1 found frames errors
  found=$(ffprobe -v error -show_entries stream=codec_name,width,height -of csv=p=0 "$file" | sort | paste -sd ' ')
  [ "$found" = "aac h264,640,360" ] || fail "$file has '$found' instead of 640x360 H.264 and AAC"
  frames=$(ffprobe -v error -count_packets -select_streams v -show_entries stream=nb_read_packets -of csv=p=0 "$file")
  [ "$frames" -lt 60 ] || long=$((long + 1))
  # Timestamps as they are: no pictures dropped or doubled to make the frame rate constant, no rounding to it.
  errors=$(ffmpeg -nostdin -v error -i "$file" -fps_mode passthrough -enc_time_base 1:1000 -f null - 2>&1) || fail "$file cannot be decoded: $errors"
  [ -z "$errors" ] || fail "$file decodes with errors: $errors"
  echo "ok: $(basename "$(dirname "$file")")/$(basename "$file"): $found, $frames pictures, decoded without errors"
}

check_origin() {
  local files
  mapfile -t files < <(find "$out/origin-$1" -name '*.flv' | sort)
  # A leg may have come back once more on a starved host; what counts is that every piece of the story is there and decodes.
  [ ${#files[@]} -ge 3 ] || fail "origin $1 has ${#files[@]} recordings instead of 3: after boot, after SIGKILL, after the freeze"
  long=0
  for file in "${files[@]}"; do check_recording "$file"; done
  [ "$long" -ge 3 ] || fail "origin $1 has only $long recordings of 60 pictures or more instead of 3"
}

# ----------------------------------------------------------------

systemd-analyze security --offline=true --threshold=20 --no-pager "$project/systemd/onaird.service" >"$out/security" ||
  fail "the unit is exposed more than 2.0 in the eyes of systemd-analyze: $(tail -n 1 "$out/security")"
echo "ok: $(tail -n 1 "$out/security" | sed 's/^[^A-Za-z]*//')"

read -r load _ </proc/loadavg
if [ "${load%.*}" -ge 1 ]; then
  echo "test-vm: this host is busy (load $load): the emulated machine needs two idle cores, its figures will be worse than they are" >&2
fi

declare -A origin_port=()
start_origin a
start_origin b
fill_product
echo "origins on ports ${origin_port[a]} and ${origin_port[b]}; booting"
install -m 755 "$here/guest-onair.sh" "$out/guest-onair.sh"
# In the background, for a signal to this script would wait until a command in the foreground is done.
"$here/run.sh" -o "$out" -p "$here/guest-install.sh" -- /out/guest-onair.sh "${ONAIRD_VM_ON_AIR_LIMIT:-20}" &
machine=$!
wait "$machine" || fail "the test in the guest failed (exit code $?)"
machine=
check_origin a
check_origin b
passed=1
printf '\n==== bench machine (emulated CPU) ====\n'
cat "$out/figures"
printf '======================================\n'
