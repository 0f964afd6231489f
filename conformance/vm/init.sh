#!/bin/busybox sh
# The kernel's first program: it loads what the disk needs and goes on there,
# as a container's root cannot be changed below the kernel's first files.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for m in /modules/*.ko; do insmod "$m" || echo "vm: no $m"; done
mount -t ext4 /dev/vda /root || { echo "vm: no disk"; poweroff -f; }
mount --move /dev /root/dev
exec switch_root /root /sbin/guest
