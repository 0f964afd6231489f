package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// Whiteouts, as layers spell them.
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// opaqueAttr is overlayfs's mark on a folder that hides the one below it.
const opaqueAttr = "trusted.overlay.opaque"

// maxEntries bounds the entries of one layer.
const maxEntries = 4 << 20

// unpack unpacks a layer's archive, plain or compressed, into the empty folder
// dir. diff is the digest of the archive uncompressed; max bounds its bytes.
//
// Every path goes through os.Root, so nothing outside dir can be touched, not
// by "..", not through symbolic links. Links themselves are kept as they are:
// inside a container they end inside it.
func unpack(r io.Reader, dir string, diff sdk.Digest, max int64) error {
	plain, err := decompress(r)
	if err != nil {
		return invalid("compressed data: %v", err)
	}
	defer plain.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	counted := newCounter(plain, 0)
	u := &unpacker{root: root, left: max}
	if err := u.all(counted); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(counted, u.left+1)); err != nil {
		return invalid("archive: %v", err)
	}
	if got := counted.digest(); got != diff {
		return failf(sdk.ReasonImageDigest, sdk.Corrupt, "layer content does not match its configuration: it is %s, not %s", got, diff).
			fix("build the image again")
	}
	return u.finish()
}

// decompress tells the compression by its first bytes, as media types lie.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

type unpacker struct {
	root *os.Root
	left int64 // bytes that may still be written
	dirs []*tar.Header
}

func (u *unpacker) all(r io.Reader) error {
	tr := tar.NewReader(r)
	for range maxEntries {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return invalid("the archive is malformed or truncated: %v", err)
		}
		if err := u.entry(h, tr); err != nil {
			return named(h.Name, err)
		}
	}
	return invalid("more than %d entries", maxEntries)
}

// named makes err one about the entry, telling a bad entry from a bad disk.
func named(name string, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EIO), errors.Is(err, unix.EPERM):
		return err
	}
	// What is left is os.Root refusing a path, or the entries contradicting
	// each other.
	return invalid("entry %q: %v", name, err)
}

// entry unpacks one entry.
func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	for seg := range strings.SplitSeq(h.Name, "/") {
		if seg == ".." {
			return invalid("entry %q climbs out of the root", h.Name)
		}
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		name = "."
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return u.folder(h)
	}
	if name == "." {
		return invalid("entry %q: the root must be a folder", h.Name)
	}
	if err := reserved(h); err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if base := path.Base(name); strings.HasPrefix(base, whiteout) {
		return u.whiteout(path.Dir(name), base)
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeFifo {
		// Containers get a /dev of their own; nodes anywhere else have no
		// business in an image.
		if strings.HasPrefix(name, "dev/") {
			return nil
		}
		return invalid("entry %q is a device or pipe outside /dev", h.Name)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.file(h, body)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		return u.hardLink(h)
	}
	return invalid("entry %q is of unknown type %q", h.Name, h.Typeflag)
}

// reserved refuses anything but folders where a container's own file systems
// are mounted: a link there would lead the mount elsewhere.
func reserved(h *tar.Header) error {
	if slices.Contains([]string{"dev", "proc", "sys"}, h.Name) {
		return invalid("entry %q must be a folder", h.Name)
	}
	return nil
}

func (u *unpacker) folder(h *tar.Header) error {
	hidden := false
	if info, err := u.root.Lstat(h.Name); err == nil && !info.IsDir() {
		hidden = info.Mode()&fs.ModeCharDevice != 0
		if err := u.root.Remove(h.Name); err != nil {
			return err
		}
	}
	if h.Name != "." {
		if err := u.root.MkdirAll(h.Name, 0o755); err != nil {
			return err
		}
	}
	if hidden {
		// A whiteout came first: the folder replaces the one below it.
		if err := u.setAttr(h.Name, opaqueAttr, "y"); err != nil {
			return err
		}
	}
	if err := u.owned(h); err != nil {
		return err
	}
	u.dirs = append(u.dirs, h)
	return nil
}

func (u *unpacker) file(h *tar.Header, body io.Reader) error {
	if h.Size > u.left {
		return invalid("entry %q makes the layer larger than its bound", h.Name)
	}
	u.left -= h.Size
	f, err := u.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return invalid("entry %q is truncated", h.Name)
		}
		return err
	}
	if err := u.owned(h); err != nil {
		return err
	}
	return u.root.Chtimes(h.Name, time.Time{}, h.ModTime)
}

// owned sets owner, mode and extended attributes: in this order, as changing
// the owner clears setuid and file capabilities.
func (u *unpacker) owned(h *tar.Header) error {
	if err := u.root.Lchown(h.Name, h.Uid, h.Gid); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	for bit, m := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if h.Mode&bit != 0 {
			mode |= m
		}
	}
	if err := u.root.Chmod(h.Name, mode); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		switch {
		case !ok:
		case strings.Contains(attr, "overlay."):
			return invalid("entry %q sets %s, which would redirect the root file system", h.Name, attr)
		case strings.HasPrefix(attr, "user."), attr == "security.capability":
			if err := u.setAttr(h.Name, attr, value); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
		}
	}
	return nil
}

func (u *unpacker) setAttr(name, attr, value string) error {
	f, err := u.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0)
}

// hardLink links to an entry that came before.
func (u *unpacker) hardLink(h *tar.Header) error {
	for seg := range strings.SplitSeq(h.Linkname, "/") {
		if seg == ".." {
			return invalid("entry %q links to %q, outside the root", h.Name, h.Linkname)
		}
	}
	target := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	info, err := u.root.Lstat(target)
	if err != nil || info.IsDir() {
		return invalid("entry %q links to %q, which is not in the layer", h.Name, h.Linkname)
	}
	return u.root.Link(target, h.Name)
}

// whiteout notes, as overlayfs does, that something of a lower layer is gone:
// one name as a character device 0:0, a whole folder by an attribute.
func (u *unpacker) whiteout(dir, base string) error {
	f, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if base == whiteoutOpaque {
		return unix.Fsetxattr(int(f.Fd()), opaqueAttr, []byte("y"), 0)
	}
	gone := strings.TrimPrefix(base, whiteout)
	if gone == "" || gone == "." || gone == ".." || strings.HasPrefix(gone, whiteout) {
		return invalid("entry %q is no whiteout", path.Join(dir, base))
	}
	err = unix.Mknodat(int(f.Fd()), gone, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// The same layer brings it anew: a file hides what is below by itself, a
	// folder has to be told.
	if info, err := u.root.Lstat(path.Join(dir, gone)); err != nil || !info.IsDir() {
		return err
	}
	return u.setAttr(path.Join(dir, gone), opaqueAttr, "y")
}

// finish sets the times of folders, which unpacking into them changed.
func (u *unpacker) finish() error {
	for _, h := range slices.Backward(u.dirs) {
		if err := u.root.Chtimes(h.Name, time.Time{}, h.ModTime); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
