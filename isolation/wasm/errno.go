package wasm

import (
	"errors"
	"syscall"
)

// errOutside is what Linux's EXDEV means of a path that leaves its folder.
const errOutside = syscall.EXDEV

// errnos are the numbers of preview 1 for those of Linux. EXDEV stands for a
// path that leaves its folder ("not capable"): renames and links between file
// systems come from calls that are told apart where they are made.
var errnos = map[syscall.Errno]uint16{
	syscall.E2BIG: 1, syscall.EACCES: 2, syscall.EADDRINUSE: 3, syscall.EADDRNOTAVAIL: 4, syscall.EAFNOSUPPORT: 5,
	syscall.EAGAIN: 6, syscall.EALREADY: 7, syscall.EBADF: 8, syscall.EBADMSG: 9, syscall.EBUSY: 10,
	syscall.ECANCELED: 11, syscall.ECHILD: 12, syscall.ECONNABORTED: 13, syscall.ECONNREFUSED: 14, syscall.ECONNRESET: 15,
	syscall.EDEADLK: 16, syscall.EDESTADDRREQ: 17, syscall.EDOM: 18, syscall.EDQUOT: 19, syscall.EEXIST: 20,
	syscall.EFAULT: 21, syscall.EFBIG: 22, syscall.EHOSTUNREACH: 23, syscall.EIDRM: 24, syscall.EILSEQ: 25,
	syscall.EINPROGRESS: 26, syscall.EINTR: 27, syscall.EINVAL: 28, syscall.EIO: 29, syscall.EISCONN: 30,
	syscall.EISDIR: 31, syscall.ELOOP: 32, syscall.EMFILE: 33, syscall.EMLINK: 34, syscall.EMSGSIZE: 35,
	syscall.ENAMETOOLONG: 37, syscall.ENETDOWN: 38, syscall.ENETRESET: 39, syscall.ENETUNREACH: 40, syscall.ENFILE: 41,
	syscall.ENOBUFS: 42, syscall.ENODEV: 43, syscall.ENOENT: 44, syscall.ENOEXEC: 45, syscall.ENOLCK: 46,
	syscall.ENOMEM: 48, syscall.ENOPROTOOPT: 50, syscall.ENOSPC: 51, syscall.ENOSYS: 52, syscall.ENOTCONN: 53,
	syscall.ENOTDIR: 54, syscall.ENOTEMPTY: 55, syscall.ENOTSOCK: 57, syscall.EOPNOTSUPP: 58, syscall.ENOTTY: 59,
	syscall.ENXIO: 60, syscall.EOVERFLOW: 61, syscall.EPERM: 63, syscall.EPIPE: 64, syscall.EPROTO: 65,
	syscall.ERANGE: 68, syscall.EROFS: 69, syscall.ESPIPE: 70, syscall.ESRCH: 71, syscall.ESTALE: 72,
	syscall.ETIMEDOUT: 73, syscall.ETXTBSY: 74, errOutside: 76,
}

// crossDevice is preview 1's number for a rename between file systems.
const crossDevice = 75

// errCross is a number that Linux does not use, for crossDevice.
const errCross = syscall.Errno(4095)

// number is preview 1's for an error of Linux; an unknown one is "io".
func number(e syscall.Errno) uint16 {
	switch {
	case e == 0:
		return 0
	case e == errCross:
		return crossDevice
	}
	if n, ok := errnos[e]; ok {
		return n
	}
	return errnos[syscall.EIO]
}

// errnoOf returns the number that err is; 0 of nil.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}
