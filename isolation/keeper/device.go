package keeper

import (
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/sdk"
)

// nodes looks up what a task's devices are. Errors: one whose reason says that
// the device is lost.
func nodes(s *isolation.Spec) ([]bundle.Node, error) {
	list := make([]bundle.Node, 0, len(s.Devices))
	for _, d := range s.Devices {
		var st unix.Stat_t
		err := unix.Stat(d.Host, &st)
		kind := st.Mode & unix.S_IFMT
		if err == nil && kind != unix.S_IFCHR && kind != unix.S_IFBLK {
			err = unix.ENODEV
		}
		if err != nil {
			return nil, &isolation.Error{Reason: sdk.ReasonDeviceLost,
				Err: sdk.Errorf(sdk.NotFound, "device/"+d.Host, "there is no such device node: %w", err)}
		}
		list = append(list, bundle.Node{Block: kind == unix.S_IFBLK, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))})
	}
	return list, nil
}
