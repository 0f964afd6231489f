package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// networkAttacks are on the machine's network, which tasks share with it
// unless they ask for their own. What is shared is the machine's addresses
// and ports, and its abstract unix sockets: a program there that speaks to
// everybody who comes has to be told not to.
var networkAttacks = []Attack{
	{Name: "raw-socket", Tries: "forge packets", run: socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), refusals: denied},
	{Name: "packet-socket", Tries: "listen to all traffic", run: socket(unix.AF_PACKET, unix.SOCK_RAW, 0), refusals: denied},
	{Name: "vsock", Tries: "speak to the machine's hypervisor", run: socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), refusals: denied},
	{Name: "alg-socket", Tries: "reach the kernel's ciphers", run: socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), refusals: denied},
	{Name: "new-link", Tries: "make a network device", run: netlink(unix.RTM_NEWLINK, unix.NLM_F_CREATE, unsafe.Slice((*byte)(unsafe.Pointer(&unix.IfInfomsg{})), unix.SizeofIfInfomsg)), refusals: denied},
	{Name: "link-down", Tries: "take the machine off its network", run: netlink(unix.RTM_NEWLINK, 0,
		unsafe.Slice((*byte)(unsafe.Pointer(&unix.IfInfomsg{Index: 1, Flags: unix.IFF_UP, Change: unix.IFF_UP})), unix.SizeofIfInfomsg)), refusals: denied},
	{Name: "new-address", Tries: "take another machine's address", run: netlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE,
		unsafe.Slice((*byte)(unsafe.Pointer(&unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: 32, Index: 1})), unix.SizeofIfAddrmsg)), refusals: denied},
	{Name: "delete-route", Tries: "cut the machine's routes", run: netlink(unix.RTM_DELROUTE, 0,
		unsafe.Slice((*byte)(unsafe.Pointer(&unix.RtMsg{Family: unix.AF_INET, Table: 253, Dst_len: 32})), unix.SizeofRtMsg)), refusals: denied},
	{Name: "firewall", Tries: "change the machine's firewall", run: then(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		// An empty batch begins and ends.
		return ask(fd, 0x10, 0, []byte{0, 0, 0, 10})
	}), refusals: append([]error{syscall.EPROTONOSUPPORT}, denied...)},
	{Name: "socket-mark", Tries: "pass the machine's firewall by a mark", run: func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1)
	}, refusals: denied},
	{Name: "low-port", Tries: "take a port that is the system's", run: func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 717, Addr: [4]byte{127, 0, 0, 1}})
	}, refusals: denied},
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, protocol)
		unix.Close(fd)
		return err
	}
}

// netlink asks the kernel to change its network.
func netlink(kind, flags uint16, body []byte) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return ask(fd, kind, flags, body)
	}
}

// ask sends a request and returns the kernel's answer as an error.
func ask(fd int, kind, flags uint16, body []byte) error {
	h := unix.NlMsghdr{Len: uint32(unix.NLMSG_HDRLEN + len(body)), Type: kind, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags, Seq: 1}
	msg := append(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unix.NLMSG_HDRLEN), body...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	answer, err := syscall.ParseNetlinkMessage(buf[:n])
	if err != nil {
		return err
	}
	for _, m := range answer {
		if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
			if e := -*(*int32)(unsafe.Pointer(&m.Data[0])); e != 0 {
				return syscall.Errno(e)
			}
			return nil
		}
	}
	return nil
}
