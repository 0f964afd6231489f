package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// diskOf returns the bytes of the file system of dir, without what is kept for
// root. It does not change with what is on it, so that a node offers the same
// after every start.
func diskOf(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return (int64(st.Blocks) - int64(st.Bfree-st.Bavail)) * st.Bsize, nil
}

// Mount is a file system as it is mounted.
type Mount struct {
	Path    string   // where
	Type    string   // "ext4"
	Device  string   // "259:1"
	Options []string // of the mount, and of the file system
}

// Mounts reads the mounts of this process. proc is where proc is mounted.
func Mounts(proc string) []Mount {
	b, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	var list []Mount
	for line := range strings.Lines(string(b)) {
		front, back, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		list = append(list, Mount{Path: unescape(f[4]), Type: g[0], Device: f[2],
			Options: append(strings.Split(f[5], ","), strings.Split(g[2], ",")...)})
	}
	return list
}

// MountOf returns the mount that holds dir, an absolute path without links: of
// those above it the nearest, and of several at one place the last.
func MountOf(mounts []Mount, dir string) (Mount, bool) {
	var best Mount
	for _, m := range mounts {
		if (m.Path == dir || m.Path == "/" || strings.HasPrefix(dir, m.Path+"/")) && len(m.Path) >= len(best.Path) {
			best = m
		}
	}
	return best, best.Path != ""
}

// unescape turns \040 and its like into what they stand for.
func unescape(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); s[i] == '\\' && err == nil {
			s = s[:i] + string(rune(n)) + s[i+4:]
		}
	}
	return s
}

// disks describes where dir is: the kind of disk and of file system; and how
// many disks the machine has.
func (r roots) disks(dir string) []sdk.Attribute {
	var out []sdk.Attribute
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if m, ok := MountOf(Mounts(r.proc), dir); ok {
		out = append(out, sdk.Attribute{Name: "disk.fs", Value: m.Type})
		block := filepath.Join(r.sys, "dev/block", m.Device)
		for _, q := range []string{"queue/rotational", "../queue/rotational"} {
			link, err := filepath.EvalSymlinks(block)
			if err != nil {
				break // no disk, as with a network file system
			}
			if v, ok := readInt(filepath.Join(link, q)); ok {
				out = append(out, sdk.Attribute{Name: "disk.kind", Value: map[bool]string{true: "hdd", false: "ssd"}[v != 0]})
				break
			}
		}
	}
	n := 0
	entries, _ := os.ReadDir(filepath.Join(r.sys, "block"))
	for _, e := range entries {
		// Those without hardware behind them are not counted.
		if _, err := os.Stat(filepath.Join(r.sys, "block", e.Name(), "device")); err == nil {
			n++
		}
	}
	if n > 0 {
		out = append(out, sdk.Attribute{Name: "disk.count", Value: fmt.Sprint(n)})
	}
	return out
}
