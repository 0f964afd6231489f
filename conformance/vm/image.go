package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules are what of the kernel is loaded, in this order, as it has no list of
// what needs what. The first ones are for the disk.
var modules = []string{
	"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
	"overlay", "loop", "veth",
}

// init finds the disk and goes on from there.
//
//go:embed init.sh
var initScript []byte

// guest is what runs on the disk: it sets the machine up, then runs the suites.
//
//go:embed guest.sh
var guestScript []byte

// build makes the machine's kernel, first files and disk.
func build(ctx context.Context, o *options, dir string, chosen []suite) (*machine, error) {
	kernels, _ := filepath.Glob(filepath.Join(o.kernel, "boot/vmlinuz-*"))
	if len(kernels) != 1 {
		return nil, fmt.Errorf("%d kernels in %s, want one", len(kernels), o.kernel)
	}
	m := &machine{kernel: kernels[0], initrd: filepath.Join(dir, "initrd"), disk: filepath.Join(dir, "disk")}
	if err := makeInitrd(m.initrd, o.kernel); err != nil {
		return nil, fmt.Errorf("initrd: %w", err)
	}
	root := filepath.Join(dir, "root")
	if err := makeRoot(ctx, root, o, chosen); err != nil {
		return nil, err
	}
	if err := command(ctx, nil, "mkfs.ext4", "-q", "-F", "-m", "0", "-d", root, m.disk, "2G"); err != nil {
		return nil, err
	}
	return m, nil
}

// makeInitrd writes what the kernel starts with: busybox, the modules, a script.
func makeInitrd(path, kernel string) error {
	var a archive
	for _, d := range []string{"bin", "dev", "proc", "modules", "root"} {
		a.add(d, 0o040755, nil)
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	a.add("bin/busybox", 0o100755, box)
	a.add("init", 0o100755, initScript)
	found := map[string]string{}
	err = filepath.WalkDir(filepath.Join(kernel, "lib/modules"), func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			found[name] = path
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, name := range modules {
		b, err := os.ReadFile(found[name])
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		a.add(fmt.Sprintf("modules/%02d-%s.ko", i, name), 0o100644, b)
	}
	return os.WriteFile(path, a.end(), 0o644)
}

// makeRoot fills a folder with what is to be on the disk.
func makeRoot(ctx context.Context, root string, o *options, chosen []suite) error {
	for _, d := range []string{"bin", "sbin", "etc", "dev", "proc", "sys", "run", "root", "var/lib", "suites", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(
		os.Chmod(filepath.Join(root, "tmp"), 0o777|fs.ModeSticky),
		put(root, "etc/passwd", []byte("root:x:0:0::/root:/bin/sh\n"), 0o644),
		put(root, "etc/group", []byte("root:x:0:\n"), 0o644),
		put(root, "etc/hosts", []byte("127.0.0.1 localhost\n"), 0o644),
		put(root, "sbin/guest", guestScript, 0o755),
		put(root, "suites/list", list(chosen), 0o755),
		install(root, "bin/busybox", "/bin/busybox"),
		install(root, "suites/keeper", o.keeper),
		makeTool(ctx, root, "mkfs.ext4"),
	); err != nil {
		return err
	}
	static := []string{"CGO_ENABLED=0"}
	if err := command(ctx, static, "go", "build", "-o", filepath.Join(root, "suites/hostile-program"), "-ldflags", "-s -w", "./conformance/hostile"); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := command(ctx, static, "go", "test", "-c", "-o", filepath.Join(root, "suites", s.name), s.pkg); err != nil {
			return err
		}
	}
	return nil
}

// list is the part of the guest's script that runs the suites.
func list(chosen []suite) []byte {
	var b bytes.Buffer
	for _, s := range chosen {
		fmt.Fprintf(&b, "suite %s '%s' '%s'\n", s.name, s.run, s.skip)
	}
	return b.Bytes()
}

// makeTool puts a program of this machine on the disk, with its libraries.
func makeTool(ctx context.Context, root, name string) error {
	path := filepath.Join("/sbin", name)
	if err := install(root, path, path); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ldd", path).Output()
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			if err := install(root, f, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func install(root, name, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return put(root, name, b, 0o755)
}

func put(root, name string, b []byte, mode fs.FileMode) error {
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, mode)
}

// command runs a program that must succeed.
func command(ctx context.Context, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
