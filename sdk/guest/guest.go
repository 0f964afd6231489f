// Package guest is what all Go plugins share inside the sandbox: the log, and
// the way bytes are handed over. Outside of it, in native builds and tests, the
// same calls do the nearest plain thing.
//
// A plugin's author needs only Log; packages policy and framework do the rest.
package guest

// MaxLine is how many bytes of one log line the host keeps.
const MaxLine = 1 << 10
