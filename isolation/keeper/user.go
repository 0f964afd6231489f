package keeper

import (
	"bytes"
	"io"
	"os"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/sdk"
)

// resolveUser turns "uid:gid", a name, or "name:group" into numbers by the
// image's own lists. Those are read inside root only, wherever links in the
// image may point.
func resolveUser(id sdk.TaskID, spec, root string) (bundle.User, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return bundle.User{}, err
	}
	defer dir.Close()
	open := func(name string) io.Reader {
		// Not to wait, should it be a pipe.
		f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil
		}
		defer f.Close()
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err != nil {
			return nil
		}
		return bytes.NewReader(b)
	}
	u, err := user.GetExecUser(spec, nil, open("etc/passwd"), open("etc/group"))
	if err != nil {
		return bundle.User{}, sdk.Errorf(sdk.Invalid, "task/"+string(id), "user %q is unknown to the image", spec).At("user").
			Because("%v", err).ToFix("use numbers, as in \"1000:1000\", or a name from the image's /etc/passwd")
	}
	res := bundle.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	for _, g := range u.Sgids {
		res.Groups = append(res.Groups, uint32(g))
	}
	return res, nil
}
