// Command hello is a small HTTP server to try a cluster with. It serves on the
// port in PORT_HTTP:
//
//	/            says which task answers, and on which node
//	/healthz     is well
//	/crash       ends the process with exit code 1
//	/eat?mb=N    takes N MiB of memory and keeps them
//
// With -once it prints the time and ends: a job.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	once := flag.Bool("once", false, "print the time and end")
	flag.Parse()
	if *once {
		fmt.Printf("%s %s\n", time.Now().UTC().Format(time.RFC3339), whoami())
		return
	}
	if err := serve(os.Getenv("PORT_HTTP")); err != nil {
		log.Fatal("hello: ", err)
	}
}

// whoami names this task and its node.
func whoami() string {
	return fmt.Sprintf("%s on %s", os.Getenv("DRUPE_TASK"), os.Getenv("DRUPE_NODE"))
}

// serve answers requests until SIGTERM, then finishes those under way.
func serve(port string) error {
	if port == "" {
		return errors.New("PORT_HTTP is not set; declare the port http")
	}
	srv := &http.Server{Handler: logged(routes()), ReadHeaderTimeout: 5 * time.Second}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Printf("%s listening on %s\n", whoami(), l.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		done <- srv.Shutdown(grace)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s\n", whoami())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "well")
	})
	mux.HandleFunc("GET /crash", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("crashing as asked")
		os.Exit(1)
	})
	mux.HandleFunc("GET /eat", (&eater{}).eat)
	return mux
}

// eater keeps what it was told to eat.
type eater struct {
	mu    sync.Mutex
	eaten [][]byte
}

// maxMeal bounds one request, so that a slip of the finger does not take the
// process down before its memory limit does.
const maxMeal = 64 << 10 // MiB

func (e *eater) eat(w http.ResponseWriter, r *http.Request) {
	mb, err := strconv.Atoi(r.FormValue("mb"))
	if err != nil || mb < 1 || mb > maxMeal {
		http.Error(w, fmt.Sprintf("mb=%q is not a number from 1 to %d", r.FormValue("mb"), maxMeal), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for range mb {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // memory counts once it is touched
		}
		e.eaten = append(e.eaten, b)
	}
	fmt.Fprintf(w, "ate %d MiB, %d in all\n", mb, len(e.eaten))
}

// logged prints one line for each request.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("%s %s from %s\n", r.Method, r.URL, r.RemoteAddr)
		next.ServeHTTP(w, r)
	})
}
