package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// machine is what a virtual machine is made of, all of it files.
type machine struct{ kernel, initrd, disk string }

// boot runs the machine until it turns itself off, and tells of each line that
// it prints. When ctx ends it is killed.
func (m *machine) boot(ctx context.Context, line func(string)) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-nographic", "-no-reboot",
		"-kernel", m.kernel, "-initrd", m.initrd, "-serial", "stdio",
		"-drive", "if=virtio,format=raw,cache=unsafe,file="+m.disk,
		"-append", "console=ttyS0 quiet loglevel=1 cgroup_no_v1=all panic=-1 mitigations=off")
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	text := bufio.NewScanner(out)
	text.Buffer(nil, 1<<20)
	for text.Scan() {
		line(strings.TrimRight(text.Text(), "\r"))
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the machine was ended: %w", context.Cause(ctx))
	case text.Err() != nil:
		return text.Err()
	}
	return err
}
