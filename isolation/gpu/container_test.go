package gpu

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// script shows what a program in a container finds of GPUs: device nodes, what
// opening one comes to, the rules of its control group, variables, files.
const script = `
cd /dev; busybox find . -name 'nvidia*' -type c | busybox sort
busybox dd if=/dev/nvidia5 of=/dev/null count=1 2>&1 | busybox grep -o 'No such device or address\|Operation not permitted'
busybox grep '^c 195:' /sys/fs/cgroup/devices/devices.list | busybox sort
echo $NVIDIA_VISIBLE_DEVICES
echo $LD_LIBRARY_PATH
`

// From a recorded server and a driver of which nothing works to a real
// container: it has the GPUs it was given, and no others.
func TestContainerSeesItsOwn(t *testing.T) {
	keeper := filepath.Join(t.TempDir(), "keeper")
	build := exec.Command("go", "build", "-tags", "seccomp netgo osusergo", "-ldflags", "-s -w -linkmode external -extldflags -static",
		"-o", keeper, "github.com/drupe-os/drupe/cmd/drupe-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("keeper: %v\n%s", err, out)
	}
	program, err := os.ReadFile(keeper)
	if err != nil {
		t.Fatal(err)
	}
	layer := t.TempDir()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(layer, 0o755)
	os.MkdirAll(filepath.Join(layer, "bin"), 0o755)
	os.WriteFile(filepath.Join(layer, "bin/busybox"), box, 0o755)
	os.Symlink("busybox", filepath.Join(layer, "bin/sh"))

	s := dgxa100.New()
	root := fakeRoot(t)
	cards := look(t, Options{Root: root, lib: s})
	id := device(s, 5).UUID
	g, err := cards.Grant(whole(id))
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rt, err := runc.Open(ctx, runc.Config{StateDir: filepath.Join(t.TempDir(), "state"), Keeper: program, DieWith: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Shutdown(context.WithoutCancel(ctx))
	exits, err := rt.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	spec := &isolation.Spec{ID: "with-gpu", LogDir: t.TempDir(), Limits: isolation.Limits{CPUWeight: 100, Memory: 64 << 20},
		Program: isolation.Program{Layers: []string{layer}, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}}}
	g.AddTo(spec)
	if err := rt.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-exits:
	case <-ctx.Done():
		t.Fatal("it does not end")
	}
	want := strings.Join([]string{"./nvidia-uvm", "./nvidia-uvm-tools", "./nvidia5", "./nvidiactl",
		"No such device or address", // it may be opened, and there is nothing behind it
		"c 195:250 rw", "c 195:251 rw", "c 195:255 rw", "c 195:5 rw",
		id, "/usr/local/nvidia/lib64", ""}, "\n")
	if got := printed(t, spec.LogDir); got != want {
		t.Errorf("it sees:\n%s\nnot:\n%s", got, want)
	}

	// A device that went away between the grant and the start.
	os.Remove(filepath.Join(root, "dev/nvidia5"))
	spec.ID = "without"
	if err := rt.Create(ctx, spec); isolation.ReasonOf(err) != sdk.ReasonDeviceLost {
		t.Errorf("a device node that is gone: %v", err)
	}
}

func printed(t *testing.T, dir string) string {
	t.Helper()
	r, err := logfile.Open(dir, logfile.Stdout, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		rec, err := r.Next()
		if err != nil {
			return b.String()
		}
		b.Write(rec.Text)
		b.WriteByte('\n')
	}
}
