// Package host runs plugins: WebAssembly modules that the kernel trusts with
// nothing. It is the only door to wazero.
//
// Install takes a module through fixed stages and compiles it, which takes time
// and belongs off the leader's path. A Module makes instances: a Policy or a
// Framework, each owned by one caller at a time. Whatever goes wrong in a call
// (trap, deadline, memory, a garbled answer) comes back as a *CallError with a
// reason; the instance is gone, the next call gets a fresh one.
//
// Calls are deterministic: a plugin's clock is the time its call carries, its
// random source is a fixed stream, and it has no files, sockets, arguments or
// environment. The same calls on a fresh instance give the same bytes.
package host
