package gpu

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/cdi"
	"github.com/drupe-os/drupe/sdk"
)

// fakeRoot is a machine with a driver of which nothing works: empty files, and
// device nodes of the driver's numbers, behind which there is nothing.
func fakeRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	node := func(name string, minor int) {
		t.Helper()
		p := filepath.Join(root, "dev", name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(195, uint32(minor)))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		node(fmt.Sprintf("nvidia%d", i), i)
	}
	node("nvidiactl", 255)
	node("nvidia-uvm", 250)
	node("nvidia-uvm-tools", 251)
	node("nvidia-caps/nvidia-cap21", 221)
	node("nvidia-caps/nvidia-cap22", 222)
	node("nvidia-caps/nvidia-cap30", 230)
	write("proc/driver/nvidia/capabilities/gpu3/mig/gi1/access", "DeviceFileMinor: 21\nDeviceFileMode: 292\n")
	write("proc/driver/nvidia/capabilities/gpu3/mig/gi1/ci0/access", "DeviceFileMinor: 22\nDeviceFileMode: 292\n")
	write("usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15", "cuda")
	write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15", "ml")
	write("usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.550.54.15", "comp")
	write("usr/lib/x86_64-linux-gnu/libc.so.6", "c")
	write("opt/odd/libnvcuvid.so.1", "video")
	write("usr/bin/nvidia-smi", "#!/bin/sh\n")
	for from, to := range map[string]string{
		"usr/lib/x86_64-linux-gnu/libcuda.so.1":         "libcuda.so.550.54.15",
		"usr/lib/x86_64-linux-gnu/libcuda.so":           "libcuda.so.1",
		"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1":    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15",
		"usr/lib/x86_64-linux-gnu/libcudadebugger.so.1": "../../../../../../../../../../etc/passwd-of-nobody",
		"lib": "usr/lib",
	} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/ld.so.cache", loaderCache("/opt/odd/libnvcuvid.so.1", "/usr/lib/x86_64-linux-gnu/libc.so.6"))
	return root
}

// loaderCache writes a cache as ldconfig does.
func loaderCache(paths ...string) string {
	head := make([]byte, 48)
	copy(head, cacheMagic)
	binary.NativeEndian.PutUint32(head[20:], uint32(len(paths)))
	var text []byte
	for i, p := range paths {
		e := make([]byte, 24)
		binary.NativeEndian.PutUint32(e, 0x0303)
		binary.NativeEndian.PutUint32(e[8:], uint32(48+24*len(paths)+len(text)))
		head = append(head, e...)
		text = append(append(text, p...), 0)
		_ = i
	}
	return "ld.so-1.7.0\x00" + string(append(head, text...))
}

func look(t *testing.T, o Options) *Cards {
	t.Helper()
	c := New(o)
	if _, err := c.Look(); err != nil {
		t.Fatal(err)
	}
	return c
}

func whole(ids ...string) (list []sdk.DeviceBinding) {
	for _, id := range ids {
		list = append(list, sdk.DeviceBinding{ID: id, Resource: sdk.GPUs, Share: 1000})
	}
	return list
}

func nodes(g *isolation.Grant) (list []string) {
	for _, d := range g.Devices {
		list = append(list, d.Path)
	}
	slices.Sort(list)
	return list
}

var driverNodes = []string{"/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"}

func TestGrant(t *testing.T) {
	root := fakeRoot(t)
	s := dgxa100.New()
	divide(s, 3, "1g.5gb")
	c := look(t, Options{Root: root, lib: s})
	g, err := c.Grant(whole(device(s, 5).UUID, device(s, 6).UUID))
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]string{"/dev/nvidia5", "/dev/nvidia6"}, driverNodes...); !slices.Equal(nodes(g), sorted(want)) {
		t.Errorf("device nodes %q", nodes(g))
	}
	var mounts []string
	for _, m := range g.Mounts {
		rel, err := filepath.Rel(root, m.Host)
		if err != nil || !m.ReadOnly || !m.Trusted {
			t.Errorf("%+v", m)
		}
		mounts = append(mounts, m.Path+" "+rel)
	}
	want := `/usr/local/nvidia/bin/nvidia-smi usr/bin/nvidia-smi
/usr/local/nvidia/lib64/libcuda.so usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
/usr/local/nvidia/lib64/libcuda.so.1 usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
/usr/local/nvidia/lib64/libnvcuvid.so.1 opt/odd/libnvcuvid.so.1
/usr/local/nvidia/lib64/libnvidia-gpucomp.so.550.54.15 usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.550.54.15
/usr/local/nvidia/lib64/libnvidia-ml.so.1 usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15`
	if got := strings.Join(mounts, "\n"); got != want {
		t.Errorf("mounts:\n%s\nnot\n%s", got, want)
	}
	ids := device(s, 5).UUID + "," + device(s, 6).UUID
	for _, e := range []string{"NVIDIA_VISIBLE_DEVICES=" + ids, "CUDA_VISIBLE_DEVICES=" + ids, "LD_LIBRARY_PATH=/usr/local/nvidia/lib64"} {
		if !slices.Contains(g.Env, e) {
			t.Errorf("no %s in %q", e, g.Env)
		}
	}

	f, _ := c.Look()
	part := f.Devices[slices.IndexFunc(f.Devices, func(d sdk.Device) bool { return d.Kind == "mig" })]
	if g, err = c.Grant(whole(part.ID)); err != nil {
		t.Fatal(err)
	}
	if want := append([]string{"/dev/nvidia3", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"}, driverNodes...); !slices.Equal(nodes(g), sorted(want)) {
		t.Errorf("of a partition: %q", nodes(g))
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

func TestGrantRefused(t *testing.T) {
	root := fakeRoot(t)
	s := dgxa100.New()
	c := look(t, Options{Root: root, lib: s})
	device(s, 1).GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	lost := device(s, 1).UUID
	os.Remove(filepath.Join(root, "dev/nvidia2"))
	c.events[device(s, 4).UUID] = "the driver reported XID 79"
	if _, err := c.Look(); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]sdk.FaultKind{lost: sdk.NotFound, "GPU-else": sdk.NotFound, device(s, 2).UUID: sdk.Unavailable, device(s, 4).UUID: sdk.Unavailable} {
		if _, err := c.Grant(whole(id)); sdk.KindOf(err) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	if g, err := c.Grant(nil); err != nil || len(g.Devices)+len(g.Mounts)+len(g.Env) > 0 {
		t.Errorf("nothing held: %+v, %v", g, err)
	}
}

func TestGrantShare(t *testing.T) {
	s := dgxa100.New()
	c := look(t, Options{Root: fakeRoot(t), lib: s, Share: true})
	g, err := c.Grant([]sdk.DeviceBinding{{ID: device(s, 0).UUID, Resource: Shared, Share: 250}, {ID: device(s, 1).UUID, Resource: Shared, Share: 500}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=10239M,1=20479M", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25"} {
		if !slices.Contains(g.Env, e) {
			t.Errorf("no %s in %q", e, g.Env)
		}
	}
}

// What is described for other runtimes can be read as they would, and comes to
// the same grant.
func TestSpecRoundTrip(t *testing.T) {
	s := dgxa100.New()
	c := look(t, Options{Root: fakeRoot(t), lib: s})
	spec, err := c.Spec()
	if err != nil || len(spec.Devices) != 8 {
		t.Fatal(spec, err)
	}
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	id := device(s, 7).UUID
	read, err := cdi.Load(dir).Grant(KindGPU + "=" + id)
	if err != nil {
		t.Fatal(err)
	}
	own, err := c.Grant(whole(id))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(nodes(read), nodes(own)) || len(read.Mounts) != len(own.Mounts) || !slices.Contains(nodes(own), "/dev/nvidia7") {
		t.Errorf("%+v\n%+v", read, own)
	}
}
