#!/bin/busybox sh
# The machine as the suites need it. What begins with "vm:" is for the program
# that runs it.
export PATH=/sbin:/bin HOME=/root GOMAXPROCS=2
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
ip link set lo up
hostname vm

# A root cgroup with processes in it can have controllers, any other cannot.
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done

export DRUPE_TEST_KEEPER=/suites/keeper DRUPE_TEST_HOSTILE=/suites/hostile-program DRUPE_TEST_PATIENCE=5
echo "vm: up $(cut -d' ' -f1 /proc/uptime) kernel $(uname -r) controllers $(cat /sys/fs/cgroup/cgroup.subtree_control)"

suite() {
	echo "vm: begin $1"
	cd /root
	"/suites/$1" -test.v -test.short -test.timeout 15m -test.run "$2" -test.skip "$3" 2>&1
	echo "vm: end $1 $?"
}
. /suites/list
echo "vm: done $(cut -d' ' -f1 /proc/uptime)"
sync
poweroff -f
