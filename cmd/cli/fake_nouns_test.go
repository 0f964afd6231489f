package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

func (f *fake) ListNodes() ([]sdk.NodeView, uint64) {
	var out []sdk.NodeView
	for i := range 3 {
		name := fmt.Sprintf("n%d", 3-i)
		out = append(out, sdk.NodeView{Node: sdk.Node{ID: sdk.NodeID("id-" + name), Name: name, Since: sdk.Time(time.Now().UnixMilli()),
			Machine: sdk.Machine{Capacity: sdk.R(2000, 4<<30), Hostname: "host", Address: "127.0.0.1", Ports: []sdk.Range{{First: 31000, Last: 31999}},
				Attributes: []sdk.Attribute{{Name: "os", Value: "linux"}}}}, Held: sdk.R(500, 1<<30), Free: sdk.R(1500, 3<<30), Tasks: 1})
		if i > 0 {
			out[i].Usage = &sdk.UsageView{CPUs: sdk.Milli(500 * i), Mem: 1 << 30, Pids: 9, Write: 1 << 20}
		}
	}
	return out, f.index
}

func (f *fake) Node(s string) (sdk.NodeView, error) {
	l, _ := f.ListNodes()
	for _, n := range l {
		if n.Name == s || string(n.ID) == s {
			return n, nil
		}
	}
	return sdk.NodeView{}, sdk.Errorf(sdk.NotFound, "node/"+s, "there is no such node").ToFix("drupe node ls")
}

func (f *fake) ListRoles() ([]sdk.RoleView, uint64) {
	return []sdk.RoleView{
		{Role: sdk.Role{Path: "eng", Weight: 2000, Limit: sdk.R(4000, 8<<30), Declared: true}, Held: sdk.R(500, 1<<30), Dominant: "mem", Share: 83, FairShare: 667, Tasks: 3},
		{Role: sdk.Role{}, Held: sdk.R(500, 1<<30), Share: 83, FairShare: 1000, Tasks: 3, Waiting: 1},
	}, f.index
}

func (f *fake) Role(p sdk.RolePath) (sdk.RoleView, error) {
	l, _ := f.ListRoles()
	for _, r := range l {
		if r.Path == p {
			return r, nil
		}
	}
	return sdk.RoleView{}, sdk.Errorf(sdk.NotFound, "role/"+string(p), "there is no such role")
}

func (f *fake) ListOffers() ([]sdk.Offer, uint64) { return nil, f.index }
func (f *fake) Summary() sdk.ClusterView          { return sdk.ClusterView{} }

func (f *fake) ListPlugins() ([]sdk.PluginView, uint64) {
	return []sdk.PluginView{
		{Plugin: sdk.Plugin{Manifest: sdk.Manifest{Name: "service", Version: "1.0.0", Point: sdk.PointFramework, Kinds: []string{"service"}}}, Active: true, Calls: 12, Latency: sdk.Latency{P50: 90, P99: 1250, Max: 2_500_000}},
		{Plugin: sdk.Plugin{Manifest: sdk.Manifest{Name: "drf", Version: "1.0.0", Point: sdk.PointPolicy, Summary: "fair shares"}}, Active: f.policy.Active == "drf"},
		{Plugin: sdk.Plugin{Manifest: sdk.Manifest{Name: "binpack", Version: "1.0.0", Point: sdk.PointPolicy}, Quarantined: true, Rejected: 3}},
	}, f.index
}

func (f *fake) Plugin(name sdk.PluginName) (sdk.PluginView, error) {
	l, _ := f.ListPlugins()
	for _, p := range l {
		if p.Manifest.Name == name {
			return p, nil
		}
	}
	return sdk.PluginView{}, sdk.Errorf(sdk.NotFound, "plugin/"+string(name), "there is no such plugin")
}

func (f *fake) Install(_ context.Context, by string, module []byte) (sdk.Plugin, error) {
	if len(module) < 8 {
		return sdk.Plugin{}, sdk.Errorf(sdk.Invalid, "module", "ends after %d bytes", len(module))
	}
	return sdk.Plugin{Manifest: sdk.Manifest{Name: "fresh", Version: "0.1.0", Point: sdk.PointPolicy}, Generation: 1}, nil
}
