#!/bin/busybox sh
# shellcheck shell=dash
# PID 1 of the initramfs: puts the guest's root together and hands over to systemd.
/bin/busybox mkdir -p /proc /sys /dev /lower /layer /rw /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

halt() {
  echo "bench: cannot go on: $*"
  echo o >/proc/sysrq-trigger
  sleep 10
}

while read -r module; do
  insmod "/modules/$module" || echo "bench: insmod $module failed"
done </modules/order

mount9p() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=524288,$3" "$1" "$2" || halt "9p $1"; }
mount9p hostroot /lower cache=loose,ro
mount9p layer /layer cache=loose,ro
mount -t tmpfs -o size=60%,mode=755 tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/layer:/lower,upperdir=/rw/upper,workdir=/rw/work overlay /root || halt overlay
cd /root || halt root

# With /.dockerenv there, systemd believes to be in a container and ignores the kernel's command line. The host's mounts are
# not the guest's, and neither is its identity.
rm -f .dockerenv run/.containerenv etc/fstab etc/machine-id
: >etc/machine-id
echo bench >etc/hostname

mkdir -p proc sys dev run tmp out
mount --move /proc proc
mount --move /sys sys
mount --move /dev dev
mkdir -p dev/pts dev/shm
mount -t devpts -o mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount9p out out cache=none

# No default route: the guest reaches the host's loopback (10.0.2.2) and nothing else.
ip link set lo up
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 || echo "bench: no network"

cp /bench/run usr/bin/onaird-bench-run
cp /bench/bench.target /bench/bench.service etc/systemd/system/
if [ -x out/prepare ]; then
  chroot . /out/prepare >out/prepare.log 2>&1 || { cat out/prepare.log >out/log; echo 1 >out/rc; halt "the prepare script failed"; }
fi
exec switch_root /root /lib/systemd/systemd
