package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// rival is plain runc, built from the version in go.mod, and a bundle for it.
type rival struct {
	program, root, bundle string
}

// rival builds runc and a bundle that runs hello as Drupe's containers do: the
// host's network, limits on memory and processes, namespaces for all else.
func (r *run) rival(args ...string) (*rival, error) {
	v := &rival{program: filepath.Join(r.scratch, "runc"), root: filepath.Join(r.scratch, "runc-state"), bundle: filepath.Join(r.scratch, "bundle-"+filepath.Base(args[len(args)-1]))}
	if _, err := os.Stat(v.program); err != nil {
		cmd := exec.CommandContext(r, "go", "build", "-tags", "seccomp", "-o", v.program, "github.com/opencontainers/runc")
		cmd.Dir = r.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building runc: %w: %s", err, out)
		}
	}
	hello, err := r.hello()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(v.bundle, "rootfs"), 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(r, "cp", "-a", hello+"/.", filepath.Join(v.bundle, "rootfs")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copying the root file system: %w: %s", err, out)
	}
	if out, err := exec.CommandContext(r, v.program, "spec", "--bundle", v.bundle).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w: %s", err, out)
	}
	return v, v.adapt(args)
}

// adapt changes runc's example configuration.
func (v *rival) adapt(args []string) error {
	path := filepath.Join(v.bundle, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	process, linux := c["process"].(map[string]any), c["linux"].(map[string]any)
	process["terminal"], process["args"] = false, args
	process["env"] = []string{"PATH=/bin", "PORT_HTTP=0"}
	c["root"].(map[string]any)["readonly"] = false
	var keep []any
	for _, n := range linux["namespaces"].([]any) {
		if n.(map[string]any)["type"] != "network" {
			keep = append(keep, n)
		}
	}
	linux["namespaces"] = keep
	resources := linux["resources"].(map[string]any)
	resources["memory"], resources["pids"] = map[string]any{"limit": 64 << 20}, map[string]any{"limit": 1024}
	if b, err = json.Marshal(c); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// hello builds the example program into a folder that is an image's layer.
func (r *run) hello() (layer string, err error) {
	layer = filepath.Join(r.scratch, "layer")
	if _, err := os.Stat(layer); err == nil {
		return layer, nil
	}
	cmd := exec.CommandContext(r, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(layer, "bin", "hello"), "./examples/hello")
	cmd.Dir, cmd.Env = r.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building hello: %w: %s", err, out)
	}
	return layer, nil
}
