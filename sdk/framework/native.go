//go:build !wasip1

package framework

var registered func() Framework

// Register names the framework that this module is. It is called once, from an
// init function of the plugin's main package.
func Register(make func() Framework) { registered = make }

// Registered returns what was registered, for native runs of a plugin's own
// main package; nil before Register.
func Registered() func() Framework { return registered }
