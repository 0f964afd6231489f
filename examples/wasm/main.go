// Command wasm is a program for WASI, preview 1: built with GOOS=wasip1
// GOARCH=wasm it is one file that runs on every node. It serves HTTP on the port
// named http, which is open already when it starts: LISTEN_FD_HTTP says under
// which number.
//
//	/           says which task answers
//	/healthz    is well
//	/count      adds one to a file in the folder at /data and says what is in it
//	/exit?code=N  ends the program
//	/eat?mb=N   takes N MiB of memory and keeps them
//	/spin       computes without end
//
// With -once it prints its arguments and ends: a job.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	once := flag.Bool("once", false, "print the arguments and end")
	code := flag.Int("code", 0, "exit code of -once")
	flag.Parse()
	if *once {
		fmt.Printf("%s on %s: %s\n", os.Getenv("DRUPE_TASK"), os.Getenv("DRUPE_NODE"), strings.Join(flag.Args(), " "))
		os.Exit(*code)
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "wasm:", err)
		os.Exit(1)
	}
}

func serve() error {
	fd, err := strconv.ParseUint(os.Getenv("LISTEN_FD_HTTP"), 10, 32)
	if err != nil {
		return errors.New("LISTEN_FD_HTTP is not set; declare the port http")
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), "http"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("%s %s\n", r.Method, r.URL)
		fmt.Fprintf(w, "hello from %s on %s\n", os.Getenv("DRUPE_TASK"), os.Getenv("DRUPE_NODE"))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "well") })
	mux.HandleFunc("GET /count", count)
	mux.HandleFunc("GET /exit", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	mux.HandleFunc("GET /eat", eat)
	mux.HandleFunc("GET /spin", func(w http.ResponseWriter, r *http.Request) {
		for n := 0; ; n++ {
			if n < 0 {
				return
			}
		}
	})
	fmt.Println("listening")
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(l)
}

func count(w http.ResponseWriter, r *http.Request) {
	const path = "/data/count"
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n, _ := strconv.Atoi(string(b))
	if err := os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o644); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, n+1)
}

var eaten [][]byte

func eat(w http.ResponseWriter, r *http.Request) {
	mb, _ := strconv.Atoi(r.FormValue("mb"))
	for range mb {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // memory counts once it is touched
		}
		eaten = append(eaten, b)
	}
	fmt.Fprintln(w, len(eaten))
}
