// Command echo is a framework for tests: what it does is what a document's body
// says.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/guest"
)

type echo struct{ started int }

func (e *echo) Start(w *sdk.World, c *framework.Call) {
	e.started = len(w.Documents)
	c.Log(fmt.Sprintf("%s started with %d documents at %s", w.Plugin, e.started, time.Now().UTC().Format(time.RFC3339)))
}

func (e *echo) Handle(events []sdk.FrameworkEvent, c *framework.Call) {
	for _, ev := range events {
		if ev.Applied == nil {
			continue
		}
		switch word := strings.Trim(string(ev.Applied.Body), `"`); word {
		case "demand":
			c.Demand(sdk.Demand{Name: "d", Ref: ev.Applied.Ref, Count: 2, Resources: sdk.R(100, 1<<20)})
			c.Wake("t", c.Now.Add(sdk.Second))
		case "random":
			m := map[int]bool{}
			for range 20 {
				m[rand.Int()] = true
			}
			for n := range m {
				c.Log(fmt.Sprint(n))
			}
		case "sleep":
			before := time.Now()
			done := make(chan bool)
			go func() { time.Sleep(time.Hour); done <- true }()
			<-done
			c.Log(time.Since(before).String())
		case "panic":
			panic("as it was told")
		case "exit":
			os.Exit(3)
		case "deadlock":
			select {}
		case "memory":
			var hold [][]byte
			for {
				hold = append(hold, make([]byte, 16<<20))
				hold[len(hold)-1][0] = 1
			}
		case "long":
			for range 20 {
				c.Log(strings.Repeat("x", 1<<20))
			}
		case "print":
			guest.Log("a line")
			fmt.Println("to standard output")
			fmt.Fprint(os.Stderr, "no line end")
		case "file":
			_, err := os.ReadFile("/etc/passwd")
			c.Log(fmt.Sprint(err, len(os.Environ()), len(os.Args)))
		}
	}
}

func init() { framework.Register(func() framework.Framework { return &echo{} }) }

func main() {}
