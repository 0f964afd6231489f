// Package grant holds what the operator of a node lets tasks ask for of it.
//
// A task gets nothing of its node but what it is charged for. What reaches
// further must be asked for in its document and granted on the node by name;
// the one exception is the node's network, which is granted unless it is denied,
// because tasks have no other way out yet.
package grant

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Grants are what a node's operator allows. The zero value is what every node
// allows.
type Grants struct {
	allowed, denied map[string]bool
	// noUsers: tasks here have the node's user ids.
	noUsers bool
}

// network is granted where it is not denied.
const network = "network:host"

// harmless capabilities mean something only among a task's own users and files.
// The second list means so only where these are not the node's.
var (
	harmless = []string{"CHOWN", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "AUDIT_WRITE"}
	confined = []string{"DAC_OVERRIDE", "SETFCAP"}
)

// New reads grants as they are written on the command line. users tells whether
// tasks have user ids of their own. Errors: Invalid, naming what is wrong.
func New(allow, deny []string, users bool) (Grants, error) {
	g := Grants{allowed: map[string]bool{}, denied: map[string]bool{}, noUsers: !users}
	for _, list := range []struct {
		names []string
		into  map[string]bool
	}{{allow, g.allowed}, {deny, g.denied}} {
		for _, name := range list.names {
			if !known(name) {
				return Grants{}, sdk.Errorf(sdk.Invalid, "grant", "%q is none", name).
					ToFix("write process, cap:NAME, host:pid, host:ipc, host:users, device:/dev/NAME, path:/FOLDER or network:host")
			}
			list.into[name] = true
		}
	}
	return g, nil
}

func known(name string) bool {
	what, of, _ := strings.Cut(name, ":")
	switch what {
	case "process":
		return of == ""
	case "cap":
		return of != "" && of == strings.ToUpper(of)
	case "host":
		return of == "pid" || of == "ipc" || of == "users"
	case "network":
		return of == "host"
	case "device":
		return strings.HasPrefix(of, "/dev/") && path.Clean(of) == of
	case "path":
		return strings.HasPrefix(of, "/") && path.Clean(of) == of
	}
	return false
}

// Has reports whether the name is granted.
func (g Grants) Has(name string) bool {
	return !g.denied[name] && (g.allowed[name] || name == network)
}

// Check returns why a node with these grants must not run the template, nil when
// it may. Errors: *isolation.Error with ReasonNotPermitted, whose fault names
// the flag that would grant it.
func (g Grants) Check(t *sdk.Template) error {
	if t.Network != sdk.NetworkPrivate && !g.Has(network) {
		return &isolation.Error{Reason: sdk.ReasonNotPermitted, Err: sdk.Errorf(sdk.Denied, "task", "may not use this node's network").At("network").
			Because("the node denies %s", network).ToFix(`write network: "private", or start the node's agent without --deny %s`, network)}
	}
	if t.Run.Process != nil && !g.Has("process") {
		return refusal("run programs of this node", "run.process", "process")
	}
	hostUsers := slices.Contains(t.HostNamespaces, "users")
	for _, n := range t.HostNamespaces {
		if !g.Has("host:" + n) {
			return refusal("share this node's "+n, "host_namespaces", "host:"+n)
		}
	}
	for _, c := range capabilities(t) {
		own := slices.Contains(harmless, c) || !g.noUsers && !hostUsers && slices.Contains(confined, c)
		if (!own || g.denied["cap:"+c]) && !g.Has("cap:"+c) {
			return refusal("have the capability "+c, "capabilities", "cap:"+c)
		}
	}
	for _, d := range t.HostDevices {
		if !g.Has("device:" + d.Path) {
			return refusal("use the device "+d.Path, "host_devices", "device:"+d.Path)
		}
	}
	for _, v := range t.Volumes {
		if v.Host != nil && !g.path(v.Host.Path) {
			return refusal("mount "+v.Host.Path+" of this node", "volumes."+v.Name, "path:"+path.Clean(v.Host.Path))
		}
	}
	return nil
}

func refusal(what, field, name string) error {
	return &isolation.Error{Reason: sdk.ReasonNotPermitted, Err: sdk.Errorf(sdk.Denied, "task", "may not %s", what).At(field).
		Because("the node's operator has not granted %s", name).ToFix("start the node's agent with --allow %s, or run the task on a node that grants it", name)}
}

// capabilities are all that the task's containers ask for.
func capabilities(t *sdk.Template) []string {
	var list []string
	if c := t.Run.Container; c != nil {
		list = append(list, c.Capabilities...)
	}
	if p := t.Run.Process; p != nil {
		list = append(list, p.Capabilities...)
	}
	for i := range t.Sidecars {
		list = append(list, t.Sidecars[i].Container.Capabilities...)
	}
	return list
}

// path reports whether the path is granted, or lies in a folder that is. A
// symbolic link in it cannot lead elsewhere: the keeper follows none.
func (g Grants) path(p string) bool {
	for p = path.Clean(p); ; p = path.Dir(p) {
		if g.denied["path:"+p] {
			return false
		}
		if g.allowed["path:"+p] {
			return true
		}
		if p == "/" || p == "." {
			return false
		}
	}
}

// Attributes tell of the grants, such as allow.process=true, so that tasks can be
// placed where they may run.
func (g Grants) Attributes() []sdk.Attribute {
	var list []sdk.Attribute
	add := func(name string) {
		name = "allow." + strings.ReplaceAll(strings.ReplaceAll(name, ":", "."), "./", ".")
		list = append(list, sdk.Attribute{Name: strings.TrimSuffix(name, "/"), Value: "true"})
	}
	for _, name := range slices.Sorted(maps.Keys(g.allowed)) {
		if g.Has(name) && name != network && len(name) < 50 {
			add(name)
		}
	}
	if g.Has(network) {
		add(network)
	}
	return list
}
