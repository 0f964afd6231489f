// Package policy plays fairness cases against a scheduling policy.
//
// A case is one text file: what the cluster is, what happens, and what the
// policy must do, step by step. The same files run against a policy's native
// code, against its .wasm in the kernel's sandbox, and on any Cluster: the
// Reference in this package, which is small enough to be checked by eye, or
// Kernel, which is the kernel's own state, books and rounds. A vendor drops more
// files into a folder and names it in CASES.
//
// See Play for the language of the files, and testdata/NOT-COVERED.md for the
// cases of Mesos's own suite that are left out, with the reasons.
package policy
