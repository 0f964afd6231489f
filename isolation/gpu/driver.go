package gpu

import (
	"bytes"
	"encoding/binary"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// inside is the folder in a container where the driver's files are. Makers of
// GPU images have the loader and the shell look there since long.
const inside = "/usr/local/nvidia"

// libraries of the driver that programs load, as patterns. Those for screens
// are left out.
var libraries = []string{
	"libcuda.so*", "libcudadebugger.so*", "libnvidia-ml.so*", "libnvidia-ptxjitcompiler.so*", "libnvidia-nvvm*.so*",
	"libnvidia-gpucomp.so*", "libnvidia-opencl.so*", "libnvidia-compiler.so*", "libnvidia-cfg.so*", "libnvidia-allocator.so*",
	"libnvidia-encode.so*", "libnvidia-opticalflow.so*", "libnvcuvid.so*", "libnvoptix.so*", "libnvidia-rtcore.so*",
	"libnvidia-pkcs11*.so*", "libnvidia-sandboxutils.so*", "libnvidia-tileiras.so*",
}

// programs of the driver that are of use in a container.
var programs = []string{"nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"}

// places where libraries are when the loader's cache does not say.
var places = []string{"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "lib64", "usr/lib", "usr/lib/wsl/lib",
	"lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"}

// file is one of the driver's: where it is on the machine and in a container.
type file struct{ host, path string }

// driverRoot is the folder that the driver's files are under.
func (c *Cards) driverRoot() string {
	if c.o.Driver != "" {
		return c.o.Driver
	}
	in := filepath.Join(c.o.Root, "run/nvidia/driver")
	if st, err := os.Stat(filepath.Join(in, "usr")); err == nil && st.IsDir() {
		return in
	}
	return c.o.Root
}

// files lists what a container gets of the driver. Libraries come under every
// name that programs load them by, so that nothing has to be linked, and no
// cache written, in the container.
func (c *Cards) files() []file {
	root := c.driverRoot()
	var list []file
	seen := map[string]bool{} // path in the container
	for _, dir := range libraryFolders(root) {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			continue
		}
		linked := map[string]bool{} // files that go by another name
		var found []file
		for _, e := range entries {
			if !slices.ContainsFunc(libraries, func(p string) bool { ok, _ := path.Match(p, e.Name()); return ok }) {
				continue
			}
			host, ok := within(root, filepath.Join("/", dir, e.Name()))
			if !ok {
				continue
			}
			found = append(found, file{host, path.Join(inside, "lib64", e.Name())})
			if e.Type()&os.ModeSymlink != 0 && filepath.Ext(e.Name()) != ".so" {
				linked[host] = true
			}
		}
		for _, f := range found {
			own := filepath.Base(f.host) == path.Base(f.path)
			if own && linked[f.host] || seen[f.path] {
				continue
			}
			seen[f.path] = true
			list = append(list, f)
		}
	}
	for _, p := range programs {
		for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "usr/local/bin", "opt/bin"} {
			if host, ok := within(root, filepath.Join("/", dir, p)); ok {
				list = append(list, file{host, path.Join(inside, "bin", p)})
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return list
}

// within follows the links of a path as though root were the root folder. It
// returns the regular file they end at, by its path from outside.
func within(root, p string) (string, bool) {
	for range 20 {
		full := filepath.Join(root, p)
		st, err := os.Lstat(full)
		if err != nil {
			return "", false
		}
		if st.Mode()&os.ModeSymlink == 0 {
			return full, st.Mode().IsRegular()
		}
		to, err := os.Readlink(full)
		if err != nil {
			return "", false
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(p), to)
		}
		p = filepath.Clean("/" + to)
	}
	return "", false
}

// libraryFolders are the folders, below root, that hold the driver's libraries:
// those the loader's cache names first, then the usual ones. One that is
// another by way of links is listed once.
func libraryFolders(root string) []string {
	var list []string
	real := map[string]bool{}
	add := func(dir string) {
		full, err := filepath.EvalSymlinks(filepath.Join(root, dir))
		if err == nil && !real[full] {
			real[full] = true
			list = append(list, dir)
		}
	}
	for _, lib := range cached(filepath.Join(root, "etc/ld.so.cache")) {
		if slices.ContainsFunc(libraries, func(p string) bool { ok, _ := path.Match(p, path.Base(lib)); return ok }) {
			add(path.Dir(lib))
		}
	}
	for _, dir := range places {
		add(dir)
	}
	return list
}

// cacheMagic begins the loader's cache, in the form of glibc since 2.2.
const cacheMagic = "glibc-ld.so.cache1.1"

// cached returns the paths of 64-bit libraries in the loader's cache; none when
// there is no cache that can be read.
func cached(name string) []string {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	// An older form may come before; what follows it is aligned.
	start := bytes.Index(b, []byte(cacheMagic))
	if start < 0 {
		return nil
	}
	b = b[start:]
	const header, entry = 48, 24
	if len(b) < header {
		return nil
	}
	n := int(binary.NativeEndian.Uint32(b[20:]))
	var list []string
	for i := range n {
		at := header + i*entry
		if at+entry > len(b) {
			break
		}
		// The entry's flags, then where its name and its path begin.
		flags, value := binary.NativeEndian.Uint32(b[at:]), int(binary.NativeEndian.Uint32(b[at+8:]))
		if width := flags & 0xff00; width != 0x0300 && width != 0x0a00 || value >= len(b) {
			continue // neither x86-64 nor aarch64
		}
		end := bytes.IndexByte(b[value:], 0)
		if end > 0 {
			list = append(list, string(b[value:value+end]))
		}
	}
	return list
}
