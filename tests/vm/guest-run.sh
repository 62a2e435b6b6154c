#!/bin/bash
# Runs the command of this bench under systemd, leaves its result in /out and turns the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb

# The machine's time limit counts from its start; the command ends 20 s before, so that there is time to save the journal.
read -r uptime _ </proc/uptime
limit=$(sed -n 's/.*bench\.limit=\([0-9]*\).*/\1/p' /proc/cmdline)
seconds=$((limit - 20 - ${uptime%.*}))

cd /out || exit 1
timeout -k 5 "$((seconds > 5 ? seconds : 5))" bash -c "$(cat /out/command)" >>/out/log 2>&1 </dev/null
code=$?
[ "$code" != 124 ] || echo "bench: the command was stopped at the time limit" >>/out/log
journalctl -b --no-pager -o short-monotonic >/out/journal 2>/dev/null
echo "$code" >/out/rc
sync -f /out
# The overlay is gone with the machine: nothing else to save, nothing worth an orderly shutdown.
poweroff -ff
