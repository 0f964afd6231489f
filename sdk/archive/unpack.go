package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Unpack unpacks an archive below dest, where that is a folder. Otherwise the
// archive has to hold one thing with all that is below it, and that gets the
// name dest, in a folder that is there. Nothing is written outside, whatever
// links there are or the archive makes. What is there already is replaced,
// folders excepted, to which the archive's are added. Errors: NotFound for the
// folder, Invalid for what cannot be unpacked, Denied.
func Unpack(r io.Reader, dest string) error {
	u := unpacker{dest: dest}
	at := dest
	fi, err := os.Stat(dest)
	switch {
	case err == nil && fi.IsDir():
	case err == nil || errors.Is(err, fs.ErrNotExist):
		at, u.as = filepath.Dir(filepath.Clean(dest)), filepath.Base(dest)
	default:
		return explain(dest, err)
	}
	if u.root, err = os.OpenRoot(at); err != nil {
		return explain(at, err)
	}
	defer u.root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
		if err := u.entry(h, tr); err != nil {
			return err
		}
	}
	// Whoever sends is not to be left with what follows the archive's end.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return broken(err)
	}
	return u.settle()
}

// broken is for an archive that cannot be read to its end.
func broken(err error) error {
	return sdk.Errorf(sdk.Corrupt, "archive", "is damaged or cut off: %w", err)
}

type unpacker struct {
	root    *os.Root
	dest    string
	as      string // name of the one thing in it; "": all keep theirs
	top     string // what that is called in the archive
	folders []folder
}

// folder is what a folder is made into when all is in it.
type folder struct {
	name string
	mode fs.FileMode
	time time.Time
}

// name returns where an entry goes.
func (u *unpacker) name(of string) (string, error) {
	name := path.Clean(of)
	if !filepath.IsLocal(name) {
		return "", sdk.Errorf(sdk.Invalid, "archive", "%.80q would lie outside", of)
	}
	if u.as == "" {
		return name, nil
	}
	first, rest, _ := strings.Cut(name, "/")
	if u.top == "" {
		u.top = first
	}
	switch {
	case u.top == ".":
		return path.Join(u.as, name), nil
	case u.top != first:
		return "", sdk.Errorf(sdk.NotFound, "file "+u.dest, "is no folder, and the archive holds more than one thing").
			ToFix("make the folder first")
	}
	return path.Join(u.as, rest), nil
}

func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := u.name(h.Name)
	if err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return explain(name, err)
		}
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.root.Mkdir(name, 0o700)
		if fi, serr := u.root.Stat(name); errors.Is(err, fs.ErrExist) && serr == nil && fi.IsDir() {
			return nil // it keeps what it is
		}
		u.folders = append(u.folders, folder{name, mode, h.ModTime})
	case tar.TypeReg:
		if strings.HasSuffix(u.dest, "/") && name == u.as {
			return sdk.Errorf(sdk.NotFound, "file "+u.dest, "is not there, or no folder")
		}
		err = u.file(name, mode, h, body)
	case tar.TypeSymlink:
		if err = u.clear(name); err == nil {
			err = u.root.Symlink(h.Linkname, name)
		}
	case tar.TypeLink:
		var to string
		if to, err = u.name(h.Linkname); err != nil {
			return err
		}
		if err = u.clear(name); err == nil {
			err = u.root.Link(to, name)
		}
	default:
		return sdk.Errorf(sdk.Invalid, "archive", "%.80q is neither file, folder nor link", h.Name)
	}
	if err != nil {
		return explain(name, err)
	}
	return nil
}

// clear makes way for what is not a folder.
func (u *unpacker) clear(name string) error {
	fi, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return sdk.Errorf(sdk.Invalid, "file "+name, "is a folder, and would have to be replaced by what is none")
	}
	return u.root.Remove(name)
}

func (u *unpacker) file(name string, mode fs.FileMode, h *tar.Header, body io.Reader) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if err := u.clear(name); errors.Is(err, syscall.EBUSY) {
		flags = os.O_WRONLY | os.O_TRUNC | syscall.O_NOFOLLOW // something is mounted there
	} else if err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, flags|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

// settle gives folders their permissions and times, the innermost first.
func (u *unpacker) settle() error {
	for i := len(u.folders) - 1; i >= 0; i-- {
		f := u.folders[i]
		if err := u.root.Chtimes(f.name, f.time, f.time); err != nil {
			return explain(f.name, err)
		}
		if err := u.root.Chmod(f.name, f.mode); err != nil {
			return explain(f.name, err)
		}
	}
	return nil
}
