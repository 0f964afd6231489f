package host

import "github.com/drupe-os/drupe/sdk"

// Limits that hold where a manifest says nothing, and the most it may ask for.
var (
	defaultPolicy = sdk.PluginLimits{
		MemoryPages: 1024, Deadline: sdk.Second, Answer: 0, HostCalls: 1_000_000}
	defaultFramework = sdk.PluginLimits{
		MemoryPages: 1024, Deadline: 5 * sdk.Second, Answer: 8 << 20, HostCalls: 100_000}
	ceiling = sdk.PluginLimits{
		MemoryPages: 8192, Deadline: 30 * sdk.Second, Answer: 16 << 20, HostCalls: 100_000_000}
)

// Bounds on what a plugin may write to the log: bytes in one call, beyond which
// lines are dropped and counted.
const maxLogged = 64 << 10

// maxElements bounds the lists and maps of an answer, counted together, because
// an empty element costs a byte on the wire and a hundred in memory.
const maxElements = 1 << 20

// limitsOf fills in what a manifest leaves out. Errors: a limit above the
// ceiling.
func limitsOf(m *sdk.Manifest) (sdk.PluginLimits, error) {
	l, def := m.Limits, defaultPolicy
	if m.Point == sdk.PointFramework {
		def = defaultFramework
	}
	refuse := func(field, what string) error {
		return sdk.Errorf(sdk.TooLarge, "plugin/"+string(m.Name), "it asks for %s", what).At("limits." + field).
			ToFix("ask for less in its manifest")
	}
	if l.MemoryPages == 0 {
		l.MemoryPages = def.MemoryPages
	}
	if l.Deadline == 0 {
		l.Deadline = def.Deadline
	}
	if l.Answer == 0 {
		l.Answer = def.Answer
	}
	if l.HostCalls == 0 {
		l.HostCalls = def.HostCalls
	}
	switch {
	case l.MemoryPages > ceiling.MemoryPages:
		return l, refuse("memory_pages", "more memory than 512Mi")
	case l.Deadline < 0 || l.Deadline > ceiling.Deadline:
		return l, refuse("deadline", "a longer call than "+ceiling.Deadline.String())
	case l.Answer < 0 || l.Answer > ceiling.Answer:
		return l, refuse("answer", "longer answers than 16Mi")
	case l.HostCalls < 0 || l.HostCalls > ceiling.HostCalls:
		return l, refuse("host_calls", "more than 100,000,000 host calls in one call")
	}
	return l, nil
}
