// Package e2e tries Drupe from end to end: the real binary, real containers,
// processes killed at bad moments, full disks, broken images, hostile plugins.
// Everything is used as people use it, through the command line and the API.
//
// The scripts in testdata run side by side against one "drupe dev" cluster; the
// tests in Go start servers and agents of their own. All of it needs root, and
// checks in the end that no process, mount, cgroup or folder is left.
package e2e
