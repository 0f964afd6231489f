package keeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// sound refuses a root file system in which what the kernel shows of itself
// would be mounted through a link. Unpacking images refuses those too; but a
// layer can come another way, and several bugs of runc began with such a link.
func sound(id sdk.TaskID, root string) error {
	for _, name := range []string{"dev", "proc", "sys"} {
		info, err := os.Lstat(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.IsDir() {
			continue
		}
		why := "nothing can be mounted there"
		switch {
		case err != nil:
			why = err.Error()
		case info.Mode()&fs.ModeSymlink != 0:
			why = "it is a link, and would lead what is mounted there elsewhere"
		}
		f := sdk.Errorf(sdk.Invalid, "task/"+string(id), "/%s of its image is no folder", name).At("image").
			Because("%s", why).ToFix("build the image again with a folder there, or with nothing")
		return &isolation.Error{Reason: sdk.ReasonImageInvalid, Err: f}
	}
	return nil
}

// profileName is the AppArmor profile that an operator can load for tasks.
const profileName = "drupe-task"

// appArmorProfile returns profileName where the machine has it loaded, else "".
// To ask for one that is not there would make every start fail.
func appArmorProfile() string {
	b, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, _, _ := strings.Cut(line, " "); name == profileName {
			return profileName
		}
	}
	return ""
}
