// Hostile is a container that tries to get out.
//
// The program runs inside a container and attacks the machine below it: one
// line for every attack says how it ended. The tests of this package run it in
// containers of the real keeper, as every task gets them and with all that an
// operator could grant, and judge the lines; they also run containers that
// are traps before they begin, and ones that try to use the machine up.
//
// An attack that fails for the wrong reason proves nothing. So each says which
// refusals count, and those that a granted capability makes possible have to
// succeed in a container that was granted it.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What main is told by its first argument.
const (
	argAll  = "all"  // run every attack, or those named, each in a process of its own
	argOne  = "one"  // run the attack named next
	argBomb = "bomb" // use something up: the bomb named next
	argSay  = "say"  // do what is named next, for an attack or a test
)

// The verdicts on an attack, the first word of its line.
const (
	Refused  = "refused"  // by one of the refusals that count
	Broken   = "broken"   // by something else, so that it proves nothing
	Escaped  = "ESCAPED"  // it did what it tried
	finished = "finished" // the last line, after all attacks
)

// patience is how long one attack may take.
const patience = 10 * time.Second

func main() {
	args := append(os.Args[1:], "", "")
	switch args[0] {
	case argAll:
		all(os.Args[2:])
	case argOne:
		one(args[1])
	case argBomb:
		bomb(args[1])
	case argSay:
		say(args[1], args[2:])
	default:
		fmt.Println("this attacks the machine it runs on; see its tests")
		os.Exit(2)
	}
}

// all runs the attacks of the names, or every one, and prints a line for each:
// verdict, name, how.
func all(names []string) {
	out := bufio.NewWriter(os.Stdout)
	for _, a := range Attacks {
		if len(names) > 0 && !slices.Contains(names, a.Name) {
			continue
		}
		cmd := exec.Command("/proc/self/exe", argOne, a.Name)
		var text strings.Builder
		cmd.Stdout, cmd.Stderr = &text, &text
		err := cmd.Start()
		if err == nil {
			late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			err = cmd.Wait()
			late.Stop()
		}
		line, _, _ := strings.Cut(strings.TrimSpace(text.String()), "\n")
		if line == "" || !strings.Contains(line, "\t") {
			line = verdict(a, fmt.Errorf("%w (%v %s)", killed(err), err, line))
		}
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, finished)
	out.Flush()
}

// killed returns what counts as the refusal of an attack that was ended.
func killed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGSYS {
			return errKilled
		}
	}
	return errors.New("said nothing")
}

// one runs a single attack in this process.
func one(name string) {
	i := slices.IndexFunc(Attacks, func(a Attack) bool { return a.Name == name })
	if i < 0 {
		fmt.Println(Broken + "\t" + name + "\tno such attack")
		return
	}
	fmt.Println(verdict(Attacks[i], Attacks[i].run()))
}

// verdict judges how an attack ended: nil is success.
func verdict(a Attack, err error) string {
	word := Broken
	switch {
	case err == nil:
		word = Escaped
	case slices.ContainsFunc(a.refusals, func(r error) bool { return errors.Is(err, r) }):
		word = Refused
	}
	return fmt.Sprintf("%s\t%s\t%v", word, a.Name, err)
}
