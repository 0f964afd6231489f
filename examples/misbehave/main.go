// Command misbehave does what tasks must not, for trying how a cluster takes
// it:
//
//	misbehave hog          takes memory until somebody stops it
//	misbehave forkbomb [N] starts children that sleep, N at most (5000), and keeps them
//	misbehave stubborn     ignores SIGTERM
//	misbehave exit N       ends with exit code N
//	misbehave lines N      prints N numbered lines to stdout and as many to stderr
//	misbehave sleep [D]    waits for a duration such as 1.5s, or for a signal
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const usage = "usage: misbehave hog | forkbomb [N] | stubborn | exit N | lines N | sleep [DURATION]"

func main() { os.Exit(run(os.Args[1:])) }

// run does what it is told and returns the exit code; 2 for wrong usage.
func run(args []string) int {
	if len(args) == 0 || len(args) > 2 {
		return wrong()
	}
	arg := ""
	if len(args) == 2 {
		arg = args[1]
	}
	number, err := strconv.Atoi(arg)
	switch verb := args[0]; {
	case verb == "hog" && arg == "":
		return hog()
	case verb == "forkbomb" && arg == "":
		return forkbomb(5000)
	case verb == "forkbomb" && err == nil:
		return forkbomb(number)
	case verb == "stubborn" && arg == "":
		return stubborn()
	case verb == "exit" && err == nil:
		return number
	case verb == "lines" && err == nil:
		return lines(number)
	case verb == "sleep" && arg == "":
		rest()
	case verb == "sleep":
		d, err := time.ParseDuration(arg)
		if err != nil {
			return wrong()
		}
		time.Sleep(d)
		return 0
	}
	return wrong()
}

func wrong() int {
	fmt.Fprintln(os.Stderr, usage)
	return 2
}

// hog takes a MiB at a time and touches it, so that it counts.
func hog() int {
	var kept [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
		if len(kept)%16 == 0 {
			fmt.Printf("holding %d MiB\n", len(kept))
		}
	}
}

// forkbomb starts up to most sleeping children. It goes on after a refusal, as
// a bomb would, and says how far it came; then it keeps its children until it
// is stopped. They end with it.
func forkbomb(most int) int {
	started, refused := 0, 0
	for range most {
		c := exec.Command("/proc/self/exe", "sleep")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			if refused == 0 {
				fmt.Printf("refused after %d children: %v\n", started, err)
			}
			refused++
			continue
		}
		started++
	}
	fmt.Printf("started %d children, refused %d\n", started, refused)
	rest()
	return 0
}

// rest does nothing until the process is stopped.
func rest() {
	for {
		time.Sleep(time.Hour)
	}
}

// stubborn counts the polite signals it was sent, and stays.
func stubborn() int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("staying")
	for n := 1; ; n++ {
		<-c
		fmt.Printf("ignoring SIGTERM, %d so far\n", n)
	}
}

// lines prints as fast as it is read.
func lines(n int) int {
	out, errs := bufio.NewWriter(os.Stdout), bufio.NewWriter(os.Stderr)
	for i := range n {
		fmt.Fprintf(out, "out %d\n", i+1)
		fmt.Fprintf(errs, "err %d\n", i+1)
	}
	if out.Flush() != nil || errs.Flush() != nil {
		return 1
	}
	return 0
}
