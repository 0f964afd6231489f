package doc

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Problem is a mistake that only shows when fields are seen together, or that
// the schema cannot tell.
type Problem struct {
	Path    []string // of the field, within the body
	Message string
	Allowed string
	Fix     string
}

// Validate returns what is wrong with a body of Decode that has the right
// shape, in the order of the fields' names. name is the document's.
func Validate(name string, body any) []Problem {
	c := &checker{}
	switch b := body.(type) {
	case *Service:
		c.name(name)
		c.role(b.Role)
		c.task(&b.Task)
		c.constraints(b.Constraints)
		if b.Instances != nil && *b.Instances < 0 {
			c.add("a negative number of instances", "", "", "instances")
		}
		if u := b.Upgrade; u != nil && u.MinHealthy != nil && *u.MinHealthy > 1000 {
			c.add("more than all instances cannot be healthy", "from 0 to 1", "", "upgrade", "min_healthy")
		}
		c.backoff(b.Backoff, "backoff")
	case *Job:
		c.name(name)
		c.role(b.Role)
		c.task(&b.Task)
		c.constraints(b.Constraints)
		c.schedule(b.Schedule)
		if b.Restart != nil {
			c.backoff(b.Restart.Backoff, "restart", "backoff")
		}
	case *Role:
		if !sdk.RolePath(name).Valid() {
			c.add(fmt.Sprintf("%q is not a role's path", name), `names joined by "/", such as "eng/web"`, "")
		}
		c.resources(b.Guarantee, "guarantee")
		c.resources(b.Limit, "limit")
		for _, q := range b.Guarantee {
			if max, ok := b.Limit.Lookup(q.Name); ok && q.Value > max {
				c.add(fmt.Sprintf("the guarantee of %s %s is over the limit of %s", q.Name, show(q), sdk.FormatQuantity(q.Name, max)),
					"", "raise the limit or lower the guarantee", "guarantee", q.Name)
			}
		}
	case *Node:
		c.name(name)
		for _, role := range slices.Sorted(maps.Keys(b.Reservations)) {
			if !sdk.RolePath(role).Valid() {
				c.add(fmt.Sprintf("%q is not a role's path", role), `names joined by "/", such as "eng/web"`, "", "reservations", role)
			}
			c.resources(b.Reservations[role], "reservations", role)
		}
	}
	return c.found
}

type checker struct{ found []Problem }

func (c *checker) add(message, allowed, fix string, path ...string) {
	c.found = append(c.found, Problem{slices.Clone(path), message, allowed, fix})
}

func (c *checker) name(name string) {
	if !sdk.ValidName(name) {
		c.add(fmt.Sprintf("%q cannot be a name", name), "1 to 63 of a-z, 0-9 and inner hyphens", "")
	}
}

func (c *checker) role(r sdk.RolePath) {
	if !r.Valid() {
		c.add(fmt.Sprintf("%q is not a role's path", r), `names joined by "/", such as "eng/web"`, "", "role")
	}
}

func (c *checker) task(t *Task) {
	c.run(t.Run)
	c.resources(t.Resources, "resources")
	c.limits(t)
	c.cpuset(t)
	c.sidecars(t)
	c.volumes(t)
	c.hostAccess(t)
	c.ports(t.Ports)
	c.references(t)
	c.checks(t)
	c.positive(t.Grace, "grace")
}

// run checks what is run: exactly one kind of it.
func (c *checker) run(r sdk.Run) {
	n := 0
	if r.Container != nil {
		n++
		c.container(r.Container, "run", "container")
	}
	if r.Process != nil {
		n++
		c.process(r.Process)
	}
	if r.Wasm != nil {
		n++
		if path, file := strings.CutPrefix(r.Wasm.Module, "file:"); file {
			if !strings.HasPrefix(path, "/") {
				c.add(fmt.Sprintf("the file %q of the module is not an absolute path", path), "", `write module: "file:/srv/x.wasm"`, "run", "wasm", "module")
			}
		} else {
			c.image(r.Wasm.Module, "run", "wasm", "module")
		}
	}
	switch {
	case n == 0:
		c.add("nothing to run", "run: container: {…}", `write run: container: image: "…"`, "run")
	case n > 1:
		c.add("a task runs one thing, not several", "exactly one of container, process, wasm", "make a sidecar or another service of the other", "run")
	}
}

func (c *checker) process(p *sdk.Process) {
	if len(p.Command) == 0 || !strings.HasPrefix(p.Command[0], "/") {
		c.add("the command of a process begins with the absolute path of a program", "", `write command: ["/usr/bin/env"]`, "run", "process", "command")
	}
	c.capabilities(p.Capabilities, "run", "process", "capabilities")
}

func (c *checker) capabilities(list []string, path ...string) {
	for i, name := range list {
		if plain, ok := strings.CutPrefix(name, "CAP_"); ok {
			c.add(fmt.Sprintf("the capability %q is written without CAP_", name), "", fmt.Sprintf("write %q", plain), append(slices.Clone(path), strconv.Itoa(i))...)
		}
	}
}

func (c *checker) container(k *sdk.Container, path ...string) {
	c.capabilities(k.Capabilities, append(slices.Clone(path), "capabilities")...)
	c.image(k.Image, append(slices.Clone(path), "image")...)
}

// image checks the name of an image or of a module in a registry.
func (c *checker) image(name string, path ...string) {
	rest, layout := strings.CutPrefix(name, "oci:")
	if file, ok := strings.CutPrefix(name, "oci-archive:"); ok {
		rest, layout = file, true
	}
	switch {
	case name == "":
		c.add("no image is named", "", `write image: "oci:/FOLDER" or image: "HOST/NAME@sha256:…"`, path...)
	case layout && !strings.HasPrefix(rest, "/"):
		c.add(fmt.Sprintf("the folder %q of the image is relative, and nodes have no current folder", rest), "",
			`write the whole path: "oci:/srv/images/hello"`, path...)
	case !layout && taggedImage.MatchString(name):
		c.add(fmt.Sprintf("%q names an image by its tag, which may come to stand for another", name), "",
			fmt.Sprintf("write what this prints: drupe image resolve %s", name), path...)
	case !layout && !registryImage.MatchString(name):
		c.add(fmt.Sprintf("%q is not an image", name), `"oci:FOLDER", "oci:FOLDER:TAG", "oci:FOLDER@sha256:…" or "HOST/NAME@sha256:…"`,
			"name a registry's image by digest, so that it is the same for ever", path...)
	}
}

var registryImage = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}$`)

// taggedImage is a registry's image without its digest: "HOST/NAME:TAG", where
// HOST is "cluster" or has a dot or a port.
var taggedImage = regexp.MustCompile(`^(cluster|localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+:[0-9]+)(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)

// confusable are names that people write for a resource that has another name,
// and that would otherwise become a resource no node has.
var confusable = map[string]string{
	"cpu": "cpus", "core": "cpus", "cores": "cpus", "vcpu": "cpus", "vcpus": "cpus",
	"memory": "mem", "mems": "mem", "ram": "mem", "gpu": "gpus", "disks": "disk", "storage": "disk",
}

func (c *checker) resources(r sdk.Resources, path ...string) {
	for _, q := range r {
		at := append(slices.Clone(path), q.Name)
		if ours, ok := confusable[q.Name]; ok {
			c.add(fmt.Sprintf("unknown resource %q", q.Name), "cpus, mem, disk, gpus, or a resource of the operator's", fmt.Sprintf("did you mean %q?", ours), at...)
		}
		if q.Name == "ports" || q.Name == "pids" {
			c.add(fmt.Sprintf("%s are not a resource", q.Name), "", map[string]string{
				"ports": "ask for ports by name: ports: http: {}", "pids": "bound processes in limits: pids: 100"}[q.Name], at...)
		}
		if q.Value < 0 {
			c.add(q.Name+" is negative", "", "", at...)
		}
	}
}

func (c *checker) ports(ports map[string]Port) {
	hosts := map[uint16]string{}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		if !sdk.ValidName(name) {
			c.add(fmt.Sprintf("%q cannot be a port's name", name), "1 to 63 of a-z, 0-9 and inner hyphens", "", "ports", name)
		}
		if h := ports[name].Host; h != 0 {
			if other, ok := hosts[h]; ok {
				c.add(fmt.Sprintf("host port %d is also wanted by port %q", h, other), "", "give each its own, or leave host out", "ports", name, "host")
			}
			hosts[h] = name
		}
	}
}

// portReference is the number of a port in a command, an argument or the value
// of an environment variable.
var portReference = regexp.MustCompile(`\$\(PORT_([A-Z0-9_]+)\)`)

// references looks for numbers of ports that the task does not have.
func (c *checker) references(t *Task) {
	known := map[string]bool{}
	for name := range t.Ports {
		known[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = true
	}
	look := func(text string, path ...string) {
		for _, m := range portReference.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
				c.add(fmt.Sprintf("%s is the number of a port that is not asked for", m[0]), "", fmt.Sprintf("add ports: %s: {}", quoted(name)), path...)
			}
		}
	}
	if k := t.Run.Container; k != nil {
		for i, s := range k.Command {
			look(s, "run", "container", "command", strconv.Itoa(i))
		}
		for i, s := range k.Args {
			look(s, "run", "container", "args", strconv.Itoa(i))
		}
	}
	if p := t.Run.Process; p != nil {
		for i, s := range p.Command {
			look(s, "run", "process", "command", strconv.Itoa(i))
		}
	}
	if w := t.Run.Wasm; w != nil {
		for i, s := range w.Args {
			look(s, "run", "wasm", "args", strconv.Itoa(i))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		look(t.Env[name], "env", name)
	}
}

func (c *checker) checks(t *Task) {
	for _, name := range slices.Sorted(maps.Keys(t.Checks)) {
		k := t.Checks[name]
		at := func(more ...string) []string { return append([]string{"checks", name}, more...) }
		if k.Name != "" && k.Name != name {
			c.add(fmt.Sprintf("the check is named %q and %q", name, k.Name), "", "leave name out: the key is the name", at("name")...)
		}
		n, kind, port, path := checkKind(k)
		if n != 1 {
			const kinds = "exactly one of http, https, tcp, grpc, command"
			if n == 0 {
				c.add("the check does not say how to check", kinds, `add http: {port: "http", path: "/"} or tcp: port: "http"`, at()...)
			} else {
				c.add("a check is of one kind, not several", kinds, "make two checks of it", at()...)
			}
			continue
		}
		if path != "" && !strings.HasPrefix(path, "/") {
			c.add(fmt.Sprintf("the path %q does not begin with \"/\"", path), "", "", at(kind, "path")...)
		}
		c.positive(k.Interval, at("interval")...)
		c.positive(k.Timeout, at("timeout")...)
		c.positive(k.Delay, at("delay")...)
		if kind == "command" {
			if t.Run.Wasm != nil {
				c.add("a module's container has no program that could be run in it", "http, https, tcp, grpc", "check one of its ports", at("command")...)
			}
			if len(k.Command.Command) == 0 {
				c.add("the check has no command", "", `write command: command: ["/bin/check"]`, at("command", "command")...)
			}
			continue
		}
		if _, ok := t.Ports[port]; !ok {
			names := slices.Sorted(maps.Keys(t.Ports))
			fix := fmt.Sprintf("add ports: %s: {}", quoted(port))
			if len(names) == 1 {
				fix = fmt.Sprintf("write %q, or add ports: %s: {}", names[0], quoted(port))
			}
			c.add(fmt.Sprintf("no port is named %q", port), strings.Join(names, ", "), fix, at(kind, "port")...)
		}
	}
}

// checkKind returns how many kinds of check it is, which, and its port and path
// where it has them.
func checkKind(k sdk.Check) (n int, kind, port, path string) {
	if k.HTTP != nil {
		n++
		kind, port, path = "http", k.HTTP.Port, k.HTTP.Path
	}
	if k.HTTPS != nil {
		n++
		kind, port, path = "https", k.HTTPS.Port, k.HTTPS.Path
	}
	if k.TCP != nil {
		n++
		kind, port, path = "tcp", k.TCP.Port, ""
	}
	if k.GRPC != nil {
		n++
		kind, port, path = "grpc", k.GRPC.Port, ""
	}
	if k.Command != nil {
		n++
		kind, port, path = "command", "", ""
	}
	return n, kind, port, path
}

// quoted quotes a name that is no identifier.
func quoted(name string) string {
	if strings.Contains(name, "-") || name == "" || name[0] >= '0' && name[0] <= '9' {
		return strconv.Quote(name)
	}
	return name
}

func (c *checker) positive(d sdk.Duration, path ...string) {
	if d < 0 {
		c.add("a span of time is negative", "", "", path...)
	}
}

func (c *checker) backoff(b *Backoff, path ...string) {
	if b == nil {
		return
	}
	if b.First > 0 && b.Max > 0 && b.First > b.Max {
		c.add(fmt.Sprintf("the first delay %s is longer than the longest %s", b.First, b.Max), "", "raise max or lower first", append(path, "first")...)
	}
	if b.Factor != nil && *b.Factor < 1000 {
		c.add("the factor is below 1: delays would shrink", "at least 1", "", append(path, "factor")...)
	}
}

func (c *checker) constraints(list []sdk.Constraint) {
	for i, k := range list {
		at := func(field string) []string { return []string{"constraints", strconv.Itoa(i), field} }
		switch k.Operator {
		case sdk.OpIs:
			if k.Value == "" {
				c.add("is needs the value to compare with", "", `add value: "…"`, at("operator")...)
			}
		case sdk.OpLike, sdk.OpUnlike:
			if k.Value == "" {
				c.add(fmt.Sprintf("%s needs a regular expression", k.Operator), "", `add value: "r[0-9]+"`, at("operator")...)
			} else if _, err := regexp.Compile(k.Value); err != nil {
				c.add(fmt.Sprintf("%q is not a regular expression: %s", k.Value, strings.TrimPrefix(err.Error(), "error parsing regexp: ")), "", "", at("value")...)
			}
		case sdk.OpUnique:
			if k.Value != "" {
				c.add("unique takes no value", "", "leave value out, or use max_per", at("value")...)
			}
		case sdk.OpCluster:
		case sdk.OpGroupBy:
			if n, err := strconv.ParseUint(k.Value, 10, 31); k.Value != "" && (err != nil || n == 0) {
				c.add(fmt.Sprintf("group_by takes a number of groups, not %q", k.Value), "a whole number as text, at least 1, or none", "", at("value")...)
			}
		case sdk.OpMaxPer:
			if n, err := strconv.ParseUint(k.Value, 10, 31); err != nil || n == 0 {
				where, msg := "value", fmt.Sprintf("max_per takes a number of instances, not %q", k.Value)
				if k.Value == "" {
					where, msg = "operator", "max_per needs a number of instances"
				}
				c.add(msg, "a whole number as text, at least 1", `write value: "2"`, at(where)...)
			}
		default:
			c.add(fmt.Sprintf("unknown operator %q", k.Operator), "is, like, unlike, unique, cluster, group_by, max_per", "", at("operator")...)
		}
	}
}

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

func (c *checker) schedule(s *Schedule) {
	if s == nil {
		return
	}
	if err := CheckCron(s.Cron); err != nil {
		c.add("not a cron line: "+err.Error(), `minute hour day month weekday, as in "30 4 * * mon-fri"`, "", "schedule", "cron")
	}
	if s.Timezone != "" && !zoneName.MatchString(s.Timezone) {
		c.add(fmt.Sprintf("%q is not a time zone", s.Timezone), `an IANA name such as "Europe/Berlin"`, "", "schedule", "timezone")
	}
	if s.Overlap != "" && s.Overlap != "allow" && s.Overlap != "forbid" {
		c.add(fmt.Sprintf("unknown overlap %q", s.Overlap), "allow, forbid", "", "schedule", "overlap")
	}
	c.positive(s.Deadline, "schedule", "deadline")
}

func show(q sdk.Quantity) string { return sdk.FormatQuantity(q.Name, q.Value) }
