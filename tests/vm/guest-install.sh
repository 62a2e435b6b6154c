#!/bin/bash
# Installs the product in the guest's root, as a package would, before systemd starts there; everything comes from /out/product.
# The unit is enabled: the guest boots the way a box does.
#
# /out/product/bench, if there is one, says what else the machine has:
#   cards=2      capture cards, the second one analogue (default 1; 0: none)
#   sound=1      a sound card whose input is what is played on its output
#   program=FILE a program of the bench, installed as /usr/bin/onaird-bench
#   data=vda     the disk that the archive is on: ext4, mounted at /var/lib/onaird/archive
set -euo pipefail
product=/out/product
cards=1 sound='' program='' data=''
# shellcheck source=/dev/null
[ ! -e "$product/bench" ] || . "$product/bench"

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
[ -z "$program" ] || install -m 755 "$program" /usr/bin/onaird-bench

# The daemon waits for it, as it does with RequiresMountsFor= on a box. Whoever formatted the disk did not know the daemon's user.
if [ -n "$data" ]; then
  cat >/usr/bin/bench-data <<DATA
#!/bin/sh
set -e
mkdir -p /var/lib/onaird/archive
mount -t ext4 -o noatime /dev/$data /var/lib/onaird/archive
chown onaird:onaird /var/lib/onaird /var/lib/onaird/archive
DATA
  chmod 755 /usr/bin/bench-data
  cat >/etc/systemd/system/bench-data.service <<UNIT
[Unit]
Description=The archive's disk
BindsTo=dev-$data.device
After=dev-$data.device
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/bench-data
UNIT
  mkdir -p /etc/systemd/system/onaird.service.d
  printf '[Unit]\nRequires=bench-data.service\nAfter=bench-data.service\n' >/etc/systemd/system/onaird.service.d/bench.conf
fi

# A capture card with a single HDMI input, perhaps beside one with S-Video; without the driver's own scaler, as most receivers are.
case $cards in
  1) echo 'options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x3 ccs_cap_mode=0' ;;
  2) echo 'options vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x3,0x2 ccs_cap_mode=0,0' ;;
esac >/etc/modprobe.d/bench.conf
: >/etc/modules-load.d/bench.conf
[ "$cards" = 0 ] || echo vivid >>/etc/modules-load.d/bench.conf
[ -z "$sound" ] || echo snd-aloop >>/etc/modules-load.d/bench.conf

# The cameras: 640x480 at 39 pictures a second on the cable (an emulated CPU cannot draw much more in real time, and the receiver takes
# nothing slower of this size), a tenth of the picture redrawn and no text, which saves some more of the CPU; what is drawn moves, for a camera's picture does. All is set before the card gets its stable name, at its
# first coming and at any other, so that the daemon never finds it otherwise. These names are for machines with two cards, which sit in
# the same port.
cat >/usr/bin/bench-camera <<'CAMERA'
#!/bin/sh
name=one set='--set-dv-bt-timings cvt,width=640,height=480,fps=40' pattern=0
case $2 in
  *-001-*) name=two set='' pattern=9 ;;
esac
v4l2-ctl -d "$1" $set -c "test_pattern=$pattern,fill_percentage_of_frame=10,osd_text_mode=2,horizontal_movement=2" >/dev/null || true
echo $name
CAMERA
chmod 755 /usr/bin/bench-camera
cat >/usr/lib/udev/rules.d/65-bench.rules <<'RULES'
ACTION!="remove", SUBSYSTEM=="video4linux", ATTR{name}=="vivid-*-vid-cap", PROGRAM="/usr/bin/bench-camera /dev/%k $attr{name}", SYMLINK+="bench/%c"
RULES
