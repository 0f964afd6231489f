// Package archive packs files into tar archives and unpacks them, for copying
// between a client and a task. Neither trusts what it works on: files may
// change while they are packed, and an archive may hold anything.
//
// Files, folders, symbolic and hard links are carried, with their permissions
// and times; owners are not, nor set-user-id bits. Devices, pipes and sockets
// are left out when packing and refused when unpacking.
package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Pack writes what is at name as an archive: one entry named as the last part
// of name, and everything below it. A symbolic link at name is packed as such;
// a slash at the end follows it. "/." at the end packs what is in the folder,
// below an entry ".". Errors: NotFound, Denied, those of w.
func Pack(w io.Writer, name string) error {
	dir, at, as := filepath.Dir(filepath.Clean(name)), filepath.Base(name), filepath.Base(name)
	switch last := name[strings.LastIndexByte(name, '/')+1:]; {
	case last == "." || last == ".." || filepath.Clean(name) == "/":
		dir, at, as = name, ".", "."
	case last == "":
		dir, at = name, "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return explain(name, err)
	}
	defer root.Close()
	p := packer{root: root, tw: tar.NewWriter(w), links: map[inode]string{}}
	if err := p.entry(at, as); err != nil {
		return err
	}
	return p.tw.Close()
}

type packer struct {
	root  *os.Root
	tw    *tar.Writer
	links map[inode]string // where in the archive a file with several names is
}

type inode struct{ device, number uint64 }

// entry packs what is at a path as a name.
func (p *packer) entry(at, as string) error {
	fi, err := p.root.Lstat(at)
	if err != nil {
		return explain(at, err)
	}
	h := &tar.Header{Name: as, Mode: int64(fi.Mode().Perm()), ModTime: fi.ModTime(), Format: tar.FormatPAX}
	switch fi.Mode().Type() {
	case 0:
		return p.file(h, at, fi)
	case fs.ModeDir:
		return p.folder(h, at)
	case fs.ModeSymlink:
		h.Typeflag, h.ModTime = tar.TypeSymlink, time.Time{} // unpacking cannot set it
		if h.Linkname, err = p.root.Readlink(at); err != nil {
			return explain(at, err)
		}
		return p.tw.WriteHeader(h)
	}
	return nil
}

func (p *packer) folder(h *tar.Header, at string) error {
	h.Typeflag = tar.TypeDir
	as := h.Name
	if as != "." {
		h.Name += "/"
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	// The flag keeps a folder that became a pipe meanwhile from being waited for.
	f, err := p.root.OpenFile(at, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return explain(at, err)
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return explain(at, err)
	}
	slices.Sort(names)
	for _, name := range names {
		err := p.entry(path.Join(at, name), path.Join(as, name))
		if err != nil && sdk.KindOf(err) != sdk.NotFound { // it was removed meanwhile
			return err
		}
	}
	return nil
}

func (p *packer) file(h *tar.Header, at string, fi fs.FileInfo) error {
	h.Typeflag = tar.TypeReg
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		key := inode{uint64(st.Dev), st.Ino}
		if first, seen := p.links[key]; seen {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.tw.WriteHeader(h)
		}
		p.links[key] = h.Name
	}
	f, err := p.root.OpenFile(at, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return explain(at, err)
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return explain(at, errors.Join(err, fs.ErrNotExist)) // it is another thing now
	}
	h.Size = fi.Size()
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	// A file that shrinks is filled up with zeros: its size is already told.
	n, err := io.Copy(p.tw, io.LimitReader(f, h.Size))
	if err != nil {
		return explain(at, err)
	}
	_, err = io.CopyN(p.tw, zeros{}, h.Size-n)
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// explain makes of an error with a file a fault about it.
func explain(name string, err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return err
	}
	subject := "file " + name
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return sdk.Errorf(sdk.NotFound, subject, "is not there").Because("%v", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return sdk.Errorf(sdk.Denied, subject, "cannot be accessed").Because("%v", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.Errorf(sdk.Exhausted, subject, "there is no space left").Because("%v", err)
	}
	return sdk.Errorf(sdk.Invalid, subject, "%w", err)
}
