package bundle

import (
	"maps"
	"slices"
)

// known are the names that Spec.Capabilities may hold.
var known = map[string]bool{
	"CHOWN": true, "DAC_OVERRIDE": true, "DAC_READ_SEARCH": true, "FOWNER": true,
	"FSETID": true, "KILL": true, "SETGID": true, "SETUID": true, "SETPCAP": true,
	"LINUX_IMMUTABLE": true, "NET_BIND_SERVICE": true, "NET_BROADCAST": true,
	"NET_ADMIN": true, "NET_RAW": true, "IPC_LOCK": true, "IPC_OWNER": true,
	"SYS_MODULE": true, "SYS_RAWIO": true, "SYS_CHROOT": true, "SYS_PTRACE": true,
	"SYS_PACCT": true, "SYS_ADMIN": true, "SYS_BOOT": true, "SYS_NICE": true,
	"SYS_RESOURCE": true, "SYS_TIME": true, "SYS_TTY_CONFIG": true, "MKNOD": true,
	"LEASE": true, "AUDIT_WRITE": true, "AUDIT_CONTROL": true, "SETFCAP": true,
	"MAC_OVERRIDE": true, "MAC_ADMIN": true, "SYSLOG": true, "WAKE_ALARM": true,
	"BLOCK_SUSPEND": true, "AUDIT_READ": true, "PERFMON": true, "BPF": true,
	"CHECKPOINT_RESTORE": true,
}

// capabilities returns the names as the kernel's own.
func capabilities(names []string) []string {
	caps := make([]string, 0, len(names))
	for _, n := range names {
		caps = append(caps, "CAP_"+n)
	}
	return caps
}

// grantedTo returns caps for a user who is not root, whom the kernel would
// otherwise leave without them, and none for root, who has them anyway.
func grantedTo(u User, caps, none []string) []string {
	if u.UID == 0 {
		return none
	}
	return caps
}

// Capabilities returns the names of all capabilities that can be granted,
// sorted.
func Capabilities() []string { return slices.Sorted(maps.Keys(known)) }
