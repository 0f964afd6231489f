package keeper

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// strangersStatus returns how a process ended that is not our child, as far as
// that can be known. The kernel tells from 6.15 on, once its parent has asked.
// Before that, the status can be read while it waits for its parent to ask.
func strangersStatus(pidfd *os.File, pid int) (syscall.WaitStatus, bool) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ws, ok := zombieStatus(pid); ok && stillZombie(pidfd) {
			return ws, true
		}
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		err := unix.IoctlPidfdInfo(int(pidfd.Fd()), &info)
		switch {
		case err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0:
			return syscall.WaitStatus(info.Exit_code), true
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR), time.Now().After(end):
			return 0, false
		}
	}
}

// stillZombie reports whether the process of pidfd is yet to be asked for its
// status by its parent, so that its number cannot be another's.
func stillZombie(pidfd *os.File) bool {
	return unix.PidfdSendSignal(int(pidfd.Fd()), 0, nil, 0) == nil
}

// zombieStatus reads the status of a process that has ended.
func zombieStatus(pid int) (syscall.WaitStatus, bool) {
	b, err := os.ReadFile(pidDir(pid, "stat"))
	if err != nil {
		return 0, false
	}
	// The command's name can hold anything; the fields follow its last ")".
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 50 || fields[0] != "Z" {
		return 0, false
	}
	n, err := strconv.Atoi(fields[49])
	return syscall.WaitStatus(n), err == nil
}
