package gpu

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/cdi"
	"github.com/drupe-os/drupe/sdk"
)

// Kinds of devices in the Container Device Interface that this package
// describes itself; makers' own descriptions of them are not used.
const (
	KindGPU = "nvidia.com/gpu"
	KindMIG = "nvidia.com/mig"
)

// Grant returns what containers get for the GPUs that a task holds: their
// device nodes and no others, the driver's files, and an environment that names
// them. Errors: NotFound for a GPU that is not there, Unavailable for one that is
// not well or has no device node.
func (c *Cards) Grant(held []sdk.DeviceBinding) (*isolation.Grant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edits := []*specs.ContainerEdits{}
	var ids []string
	var shares []string
	for _, b := range held {
		one := c.seen[b.ID]
		if one == nil || one.gone {
			return nil, sdk.Errorf(sdk.NotFound, "device/"+b.ID, "there is no such GPU on this machine (any more)")
		}
		if !one.device.Healthy {
			return nil, sdk.Errorf(sdk.Unavailable, "device/"+b.ID, "it is not fit for tasks").Because("%s", one.device.Detail)
		}
		e, err := c.describe(one)
		if err != nil {
			return nil, err
		}
		edits = append(edits, e)
		ids = append(ids, b.ID)
		if b.Share > 0 && b.Share < 1000 {
			mem := one.device.Mem / 1000 * int64(b.Share)
			shares = append(shares, fmt.Sprintf("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=%d=%dM", len(ids)-1, mem>>20),
				fmt.Sprintf("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%d", max(b.Share/10, 1)))
		}
	}
	if len(ids) == 0 {
		return &isolation.Grant{}, nil
	}
	g, err := cdi.Grant(append([]*specs.ContainerEdits{c.common()}, edits...)...)
	if err != nil {
		return nil, err
	}
	// Programs of the driver number the GPUs they see by this; and NVIDIA's own
	// container runtime, should the task bring it, gives no others.
	g.Env = append(g.Env, "NVIDIA_VISIBLE_DEVICES="+strings.Join(ids, ","), "CUDA_VISIBLE_DEVICES="+strings.Join(ids, ","))
	g.Env = append(g.Env, merge(shares)...)
	return g, nil
}

// merge joins the memory limits of several GPUs into one variable; of others
// the first stays.
func merge(env []string) []string {
	var names []string
	values := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		switch had, ok := values[name]; {
		case !ok:
			names = append(names, name)
			values[name] = value
		case strings.HasSuffix(name, "_MEM_LIMIT"):
			values[name] = had + "," + value
		}
	}
	for i, n := range names {
		names[i] = n + "=" + values[n]
	}
	return names
}

// Spec describes all GPUs that are there, in the form that other runtimes
// understand: one device each, called by its id.
func (c *Cards) Spec() (*specs.Spec, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &specs.Spec{Version: "0.5.0", Kind: KindGPU, ContainerEdits: *c.common()}
	for _, d := range c.found.Devices {
		one := c.seen[d.ID]
		if one == nil || one.gone {
			continue
		}
		e, err := c.describe(one)
		if err != nil {
			return nil, err
		}
		s.Devices = append(s.Devices, specs.Device{Name: d.ID, ContainerEdits: *e})
	}
	return s, nil
}

// common is what every container with a GPU needs, whichever it is.
func (c *Cards) common() *specs.ContainerEdits {
	e := &specs.ContainerEdits{Env: []string{
		"LD_LIBRARY_PATH=" + path.Join(inside, "lib64"), "PATH=" + path.Join(inside, "bin"),
		// The driver's tools are there whatever the image says.
		"NVIDIA_DRIVER_CAPABILITIES=compute,utility",
	}}
	for _, name := range []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"} {
		if n := c.node(name); n != nil {
			e.DeviceNodes = append(e.DeviceNodes, n)
		}
	}
	for _, f := range c.files() {
		e.Mounts = append(e.Mounts, &specs.Mount{HostPath: f.host, ContainerPath: f.path, Options: []string{"ro", "nosuid", "nodev", "bind"}})
	}
	// Where the driver's own daemon listens, which keeps a card awake.
	if st, err := os.Stat(filepath.Join(c.o.Root, "run/nvidia-persistenced/socket")); err == nil && st.Mode()&os.ModeSocket != 0 {
		e.Mounts = append(e.Mounts, &specs.Mount{HostPath: filepath.Join(c.o.Root, "run/nvidia-persistenced/socket"),
			ContainerPath: "/run/nvidia-persistenced/socket", Options: []string{"ro", "nosuid", "nodev", "bind"}})
	}
	return e
}

// describe is what one GPU, or one partition, needs.
func (c *Cards) describe(one *card) (*specs.ContainerEdits, error) {
	id := one.device.ID
	lacking := func(name string) error {
		return sdk.Errorf(sdk.Unavailable, "device/"+id, "its device node %s is not there", name).
			ToFix("run nvidia-modprobe -c 0 -u, or nvidia-smi, as root; the driver's daemon does it at each start")
	}
	if one.minor < 0 {
		return nil, sdk.Errorf(sdk.Unavailable, "device/"+id, "the driver does not tell the number of its device node")
	}
	e := &specs.ContainerEdits{}
	names := []string{"nvidia" + strconv.Itoa(one.minor)}
	if one.device.Parent != "" {
		// What a partition may be reached by: its two capabilities.
		base := fmt.Sprintf("proc/driver/nvidia/capabilities/gpu%d/mig/gi%d", one.minor, one.gi)
		for _, name := range []string{base + "/access", fmt.Sprintf("%s/ci%d/access", base, one.ci)} {
			minor, err := capability(filepath.Join(c.o.Root, name))
			if err != nil {
				return nil, sdk.Errorf(sdk.Unavailable, "device/"+id, "the capability of the partition cannot be read: %w", err)
			}
			names = append(names, "nvidia-caps/nvidia-cap"+strconv.Itoa(minor))
		}
	}
	for _, name := range names {
		n := c.node(name)
		if n == nil {
			return nil, lacking("/dev/" + name)
		}
		e.DeviceNodes = append(e.DeviceNodes, n)
	}
	return e, nil
}

// node describes a device node of the driver; nil when it is not there.
func (c *Cards) node(name string) *specs.DeviceNode {
	for _, root := range []string{c.o.Root, c.driverRoot()} {
		host := filepath.Join(root, "dev", name)
		if st, err := os.Stat(host); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			return &specs.DeviceNode{Path: "/dev/" + name, HostPath: host, Permissions: "rw"}
		}
	}
	return nil
}

// capability reads the number of the device node that stands for a capability.
func capability(name string) (int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "DeviceFileMinor:"); ok {
			return strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return 0, fmt.Errorf("%s names no device node", name)
}

var _ interface {
	Grant([]sdk.DeviceBinding) (*isolation.Grant, error)
} = (*Cards)(nil)
