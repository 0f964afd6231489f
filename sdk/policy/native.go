//go:build !wasip1

package policy

var registered func() Policy

// Register names the policy that this module is. It is called once, from an
// init function of the plugin's main package.
func Register(make func() Policy) { registered = make }

// Registered returns what was registered, for native runs of a plugin's own
// main package; nil before Register.
func Registered() func() Policy { return registered }
