#!/bin/bash
# Installs the product in the guest's root, as a package would, before systemd starts there; everything comes from /out/product.
# The unit is enabled: the guest boots the way a box does.
set -euo pipefail
product=/out/product

install -m 755 "$product/onaird" /usr/bin/onaird
install -D -m 644 "$product/onaird.service" /usr/lib/systemd/system/onaird.service
install -D -m 644 "$product/onaird.sysusers.conf" /usr/lib/sysusers.d/onaird.conf
install -D -m 644 "$product/onaird.tmpfiles.conf" /usr/lib/tmpfiles.d/onaird.conf
install -D -m 644 "$product/onaird.modules.conf" /usr/lib/modules-load.d/onaird.conf
install -D -m 644 "$product/70-onaird.rules" /usr/lib/udev/rules.d/70-onaird.rules
install -D -m 640 "$product/onaird.toml" /etc/onaird/onaird.toml
systemd-sysusers /usr/lib/sysusers.d/onaird.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/onaird.conf
mkdir -p /etc/systemd/system/bench.target.wants
ln -s /usr/lib/systemd/system/onaird.service /etc/systemd/system/bench.target.wants/

# The capture card: one with a single HDMI input, and without the driver's own scaler, as most HDMI receivers are.
echo 'options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x3 ccs_cap_mode=0' >/etc/modprobe.d/bench.conf
echo vivid >/etc/modules-load.d/bench.conf

# The camera: 640x480p60 on the cable (an emulated CPU cannot draw more in real time), set when the card appears and before the
# daemon opens it. A tenth of the picture redrawn and no text save some more of the CPU.
cat >/etc/systemd/system/bench-camera.service <<'UNIT'
[Unit]
Description=Camera of the bench machine
Wants=dev-onair-capture\x2d0.device
After=dev-onair-capture\x2d0.device
Before=onaird.service
JobTimeoutSec=30

[Service]
Type=oneshot
ExecStart=v4l2-ctl -d /dev/onair/capture-0 --set-dv-bt-timings index=0
ExecStart=v4l2-ctl -d /dev/onair/capture-0 -c fill_percentage_of_frame=10,osd_text_mode=2
UNIT
ln -s ../bench-camera.service /etc/systemd/system/bench.target.wants/
