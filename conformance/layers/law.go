package layers

import (
	"slices"
	"strings"
)

// law is the import law. Each rule returns "" or the reason an import is
// forbidden. Tests of a package stand under the same law as the package, but
// for the few rules that say otherwise.
var law = []func(Import) string{
	areas, siblings, leaves, guests, doors, pure, nobodyImportsTests,
}

// areas: the three great areas meet in sdk and are joined in cmd.
func areas(i Import) string {
	if !i.Own {
		return ""
	}
	from, to := top(i.From), top(i.To)
	area := func(s string) bool { return s == "kernel" || s == "agent" || s == "isolation" }
	if area(from) && area(to) && from != to {
		if from == "agent" && i.To == "isolation" {
			return "" // the contract itself, which has no implementation in it
		}
		if i.Test && from == "agent" && i.To == "isolation/fake" {
			return ""
		}
		return "kernel, agent and isolation know each other only through sdk, and are joined in cmd"
	}
	if i.Test && i.From == "kernel/host" && to == "plugins" {
		return "" // the same source natively and in the sandbox
	}
	if area(from) && (to == "cmd" || to == "plugins" || to == "examples" || to == "cue") {
		return "what " + from + " needs of " + to + " is handed in by cmd"
	}
	return ""
}

// siblings: packages inside kernel do not know each other, but for the pure
// ones that are layers of one thing.
func siblings(i Import) string {
	if !i.Own || top(i.From) != "kernel" || i.From == "kernel" || top(i.To) != "kernel" {
		return ""
	}
	if i.To == "kernel" {
		return "the shell is above its parts"
	}
	allowed := map[string][]string{
		"kernel/offer": {"kernel/account"},
		"kernel/core":  {"kernel/account", "kernel/offer"},
		"kernel/gate":  {"kernel/guard"},
	}
	if i.From == i.To || within(i.To, i.From) || within(i.From, i.To) || slices.Contains(allowed[i.From], i.To) {
		return ""
	}
	return "siblings in kernel meet in the shell, through small interfaces their user declares"
}

// leaves: the nouns import nothing of Drupe's, the rest of sdk only sdk.
func leaves(i Import) string {
	if !i.Own || top(i.From) != "sdk" || i.Test {
		return ""
	}
	if i.From == "sdk" {
		return "the nouns are a leaf: guests compile them"
	}
	if top(i.To) != "sdk" {
		return "sdk is what others build on; it builds on nothing but itself"
	}
	return ""
}

// guests: what we ship as plugins and examples must be possible for anybody.
func guests(i Import) string {
	if !i.Own || top(i.From) != "plugins" && top(i.From) != "examples" {
		return ""
	}
	if top(i.To) == "sdk" || within(i.To, i.From) || sameGuest(i.From, i.To) {
		return ""
	}
	return "a vendor has only sdk, so our own plugins and examples have only sdk"
}

// sameGuest reports whether two folders belong to one plugin or example.
func sameGuest(a, b string) bool {
	x, y := strings.SplitN(a, "/", 3), strings.SplitN(b, "/", 3)
	return len(x) > 1 && len(y) > 1 && x[0] == y[0] && x[1] == y[1]
}

// door is a heavy dependency and the only folders that may open it.
type door struct {
	module  string
	folders []string
}

var doorsTo = []door{
	{"cuelang.org/go", []string{"cue"}},
	{"github.com/tetratelabs/wazero", []string{"kernel/host", "isolation/wasm"}},
	{"github.com/hashicorp/serf", []string{"kernel/gossip"}},
	{"github.com/hashicorp/memberlist", []string{"kernel/gossip"}},
	{"github.com/hashicorp/raft", []string{"kernel/replica"}},
	{"go.etcd.io/bbolt", []string{"kernel/replica", "agent/disk"}},
	{"github.com/opencontainers/runc", []string{"isolation/runc", "isolation/keeper"}},
	{"github.com/opencontainers/cgroups", []string{"isolation/runc", "isolation/keeper", "isolation/bundle"}},
	{"github.com/NVIDIA/go-nvml", []string{"isolation/gpu"}},
	{"github.com/spf13/cobra", []string{"cmd/cli"}},
}

// doors: each heavy dependency has one door, so that it can be bumped, replaced
// or left out in one place.
func doors(i Import) string {
	if i.Own || top(i.From) == "conformance" {
		return ""
	}
	for _, d := range doorsTo {
		if !within(i.To, d.module) {
			continue
		}
		for _, f := range d.folders {
			if within(i.From, f) {
				return ""
			}
		}
		return "only " + strings.Join(d.folders, " and ") + " may import " + d.module
	}
	return ""
}

// Pure are the packages that decide: functions of state and input, run the same
// by the server, by tests and by the simulator.
var Pure = []string{"sdk", "sdk/wire", "sdk/policy", "sdk/framework",
	"kernel/core", "kernel/account", "kernel/offer", "kernel/guard", "agent/plan", "isolation/bundle"}

// deterministic is the part of the standard library that knows no clock, no
// randomness and no outside world. Of time and context sdk uses only types,
// arithmetic and text.
var deterministic = []string{"bytes", "cmp", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt", "hash",
	"hash/crc32", "io", "iter", "maps", "math", "math/bits", "regexp", "slices", "sort", "strconv", "strings", "unicode/utf8",
	"github.com/tinylib/msgp/msgp"}

// pure: packages that decide may import only what is deterministic.
func pure(i Import) string {
	if i.Test || !slices.Contains(Pure, i.From) || i.Own || slices.Contains(deterministic, i.To) {
		return ""
	}
	exceptions := map[string][]string{
		"sdk":              {"time"},              // to read and write durations; the layer test forbids time.Now
		"sdk/framework":    {"reflect", "unsafe"}, // unsafe: the memory shared with the host
		"sdk/policy":       {"unsafe"},
		"isolation/bundle": {"github.com/opencontainers/runtime-spec/specs-go", "github.com/moby/profiles/seccomp", "path", "encoding/json"},
	}
	if slices.Contains(exceptions[i.From], i.To) {
		return ""
	}
	return "a package that decides knows no clock, no randomness and no outside world"
}

// nobodyImportsTests: conformance may look at everything and serves nobody.
func nobodyImportsTests(i Import) string {
	if i.Own && top(i.To) == "conformance" && top(i.From) != "conformance" && top(i.From) != "cmd" {
		return "conformance judges the others; nothing may depend on it"
	}
	return ""
}
