package wasm

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stops are the signals that end a module. Programs in a container have no
// default action for them.
var stops = []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}

// newGuest opens what the module finds open: its standard streams, folders
// from number 3 on, then its ports. Where the ports are it learns from its
// environment: LISTEN_FD_<NAME> for each, and LISTEN_FDS and LISTEN_FDNAMES for
// all.
func newGuest(o *options) (*guest, error) {
	g := &guest{args: o.args, env: os.Environ()}
	for fd := range 3 {
		f, err := open(fd, "")
		if err != nil {
			return nil, err
		}
		g.files.add(f)
	}
	for _, path := range o.mounts {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("volume at %s: %w", path, err)
		}
		f, err := open(fd, path)
		if err != nil {
			return nil, err
		}
		g.files.add(f)
	}
	var names []string
	for _, l := range o.listen {
		name, text, _ := strings.Cut(l, "=")
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q is no number", l)
		}
		fd, err := listen(int(port))
		if err != nil {
			return nil, fmt.Errorf("port %s: %w", name, err)
		}
		n := g.files.add(&file{fd: fd, kind: kindStream})
		g.env = append(g.env, "LISTEN_FD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strconv.Itoa(int(n)))
		names = append(names, name)
	}
	if len(names) > 0 {
		g.env = append(g.env, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	return g, nil
}

// listen opens a port on all addresses, of both families where the machine has
// both. It does not block: a module that waits in it could do nothing else.
func listen(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: port}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	} else if errors.Is(err, unix.EAFNOSUPPORT) {
		at = &unix.SockaddrInet4{Port: port}
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	if err != nil {
		return -1, err
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return unix.Bind(fd, at) },
		func() error { return unix.Listen(fd, unix.SOMAXCONN) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}
