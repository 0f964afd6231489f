package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk/oci"
)

// skip are packages that nothing in a container needs: what others of them
// depend on only to be installed and started by a system.
var skip = []string{"adduser", "debconf", "dpkg", "init-system-helpers", "lsb-base", "passwd",
	"sysvinit-utils", "systemd", "perl-base", "tar", "install-info"}

// prune are folders that programs do not read.
var prune = []string{"usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/bug",
	"usr/share/info", "etc/init.d", "etc/logrotate.d", "lib/systemd", "usr/lib/systemd"}

// debian downloads the packages and all they depend on into tmp, unpacks them
// without running their scripts, and returns what they hold.
func debian(tmp string, packages []string) ([]oci.File, error) {
	downloads, root := filepath.Join(tmp, "deb"), filepath.Join(tmp, "root")
	for _, d := range []string{downloads, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	// apt downloads as a user of its own, who must be able to write there.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	if err := download(downloads, packages); err != nil {
		// The lists of packages are missing on a new machine, or older than what
		// the archive has.
		if _, updating := tool("", "apt-get", "update"); updating != nil {
			return nil, errors.Join(err, updating)
		}
		if err := download(downloads, packages); err != nil {
			return nil, err
		}
	}
	debs, err := filepath.Glob(filepath.Join(downloads, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, deb := range debs {
		if _, err := tool(root, "dpkg-deb", "-x", deb, root); err != nil {
			return nil, err
		}
	}
	return tree(root)
}

// download gets the packages and all they depend on into a folder.
func download(dir string, packages []string) error {
	names, err := closure(packages)
	if err != nil {
		return err
	}
	_, err = tool(dir, "apt-get", append([]string{"-o", "APT::Sandbox::User=root", "download"}, names...)...)
	return err
}

// closure returns the packages and all they depend on, real packages only,
// sorted.
func closure(packages []string) ([]string, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}
	out, err := tool("", "apt-cache", append(args, packages...)...)
	if err != nil {
		return nil, err
	}
	// Walked again here, so that what only a skipped package needs is left out.
	needs := map[string][]string{}
	var at string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, " ") {
			at = line
			continue
		}
		kind, dep, ok := strings.Cut(strings.TrimLeft(line, " |"), ": ")
		// A line that begins with | is an alternative: the next line is another.
		if ok && (kind == "Depends" || kind == "PreDepends") && !strings.HasPrefix(line, " |") {
			needs[at] = append(needs[at], dep)
		}
	}
	var names []string
	todo := slices.Clone(packages)
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		if slices.Contains(names, n) || slices.Contains(skip, n) || strings.HasPrefix(n, "<") {
			continue
		}
		names = append(names, n)
		todo = append(todo, needs[n]...)
	}
	slices.Sort(names)
	return names, nil
}

// tree lists all below root but what is pruned. Debian 12 has its programs and
// libraries under /usr, reached through links at the root.
func tree(root string) ([]oci.File, error) {
	var files []oci.File
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := merge(root, dir); err != nil {
			return nil, err
		}
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if slices.Contains(prune, rel) {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := oci.File{Path: rel}
		switch {
		case d.IsDir():
			f.Dir, f.Mode = true, info.Mode()
		case d.Type()&fs.ModeSymlink != 0:
			if f.Link, err = os.Readlink(p); err != nil {
				return err
			}
		case d.Type().IsRegular():
			f.Source = p
		default:
			return nil
		}
		files = append(files, f)
		return nil
	})
	tmp := oci.File{Path: "tmp", Dir: true, Mode: fs.ModeSticky | 0o777}
	if !slices.ContainsFunc(files, func(f oci.File) bool { return f.Path == "tmp" }) {
		files = append(files, tmp)
	}
	return files, err
}

// merge moves root/dir into root/usr/dir and leaves a link.
func merge(root, dir string) error {
	old, merged := filepath.Join(root, dir), filepath.Join(root, "usr", dir)
	if err := os.MkdirAll(merged, 0o755); err != nil {
		return err
	}
	if info, err := os.Lstat(old); err == nil && info.IsDir() {
		if _, err := tool(root, "cp", "-a", "--remove-destination", old+"/.", merged); err != nil {
			return err
		}
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	} else if err == nil {
		return nil
	}
	return os.Symlink("usr/"+dir, old)
}

// tool runs a command and returns its output.
func tool(dir, name string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	c := exec.Command(name, args...)
	c.Dir, c.Stdout, c.Stderr = dir, &out, &errs
	c.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}
