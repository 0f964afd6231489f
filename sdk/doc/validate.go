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
	c.image(t.Run.Container)
	c.resources(t.Resources, "resources")
	if mem, ok := t.Limits.Lookup(sdk.Mem); ok && mem < t.Resources.Get(sdk.Mem) {
		c.add(fmt.Sprintf("the limit of mem %s is below the %s it is promised", sdk.FormatBytes(mem), sdk.FormatBytes(t.Resources.Get(sdk.Mem))),
			"", "raise limits.mem or lower resources.mem", "limits", "mem")
	}
	if cpus, ok := t.Limits.Lookup(sdk.CPUs); ok && cpus < t.Resources.Get(sdk.CPUs) {
		c.add(fmt.Sprintf("the limit of %s cores is below the %s it is promised", sdk.FormatQuantity(sdk.CPUs, cpus), sdk.FormatQuantity(sdk.CPUs, t.Resources.Get(sdk.CPUs))),
			"", "raise limits.cpus or lower resources.cpus", "limits", "cpus")
	}
	for _, q := range t.Limits {
		if q.Name != sdk.CPUs && q.Name != sdk.Mem && q.Name != "pids" {
			c.add(fmt.Sprintf("%s cannot be limited", q.Name), "cpus, mem, pids", "", "limits", q.Name)
		}
	}
	c.ports(t.Ports)
	c.references(t)
	c.checks(t)
	c.positive(t.Grace, "grace")
}

func (c *checker) image(k *sdk.Container) {
	if k == nil {
		c.add("nothing to run", "run: container: {…}", `write run: container: image: "…"`, "run")
		return
	}
	for i, name := range k.Capabilities {
		if plain, ok := strings.CutPrefix(name, "CAP_"); ok {
			c.add(fmt.Sprintf("the capability %q is written without CAP_", name), "", fmt.Sprintf("write %q", plain), "run", "container", "capabilities", strconv.Itoa(i))
		}
	}
	rest, layout := strings.CutPrefix(k.Image, "oci:")
	switch {
	case k.Image == "":
		c.add("no image is named", "", `write image: "oci:/FOLDER" or image: "HOST/NAME@sha256:…"`, "run", "container", "image")
	case layout && !strings.HasPrefix(rest, "/"):
		c.add(fmt.Sprintf("the folder %q of the image is relative, and nodes have no current folder", rest), "",
			`write the whole path: "oci:/srv/images/hello"`, "run", "container", "image")
	case !layout && !registryImage.MatchString(k.Image):
		c.add(fmt.Sprintf("%q is not an image", k.Image), `"oci:FOLDER", "oci:FOLDER:TAG", "oci:FOLDER@sha256:…" or "HOST/NAME@sha256:…"`,
			"name a registry's image by digest, so that it is the same for ever", "run", "container", "image")
	}
}

var registryImage = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}$`)

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
		var port, kind string
		switch {
		case k.HTTP != nil && k.TCP != nil:
			c.add("a check is http or tcp, not both", "exactly one of http, tcp", "make two checks of it", at()...)
			continue
		case k.HTTP != nil:
			port, kind = k.HTTP.Port, "http"
			if !strings.HasPrefix(k.HTTP.Path, "/") {
				c.add(fmt.Sprintf("the path %q does not begin with \"/\"", k.HTTP.Path), "", "", at("http", "path")...)
			}
		case k.TCP != nil:
			port, kind = k.TCP.Port, "tcp"
		default:
			c.add("the check does not say how to check", "exactly one of http, tcp", `add http: {port: "http", path: "/"} or tcp: port: "http"`, at()...)
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
		c.positive(k.Interval, at("interval")...)
		c.positive(k.Timeout, at("timeout")...)
		c.positive(k.Delay, at("delay")...)
	}
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
