package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

var tcp = &sdk.TCPCheck{Port: "p"}

// TestSemantics plays tries in virtual time: a script says what each try gives,
// and the verdicts must come at the stated moments.
func TestSemantics(t *testing.T) {
	tests := []struct {
		name  string
		check sdk.Check
		runs  time.Duration // the task has run that long already
		had   sdk.Health
		// ok says whether a try at that time after Add succeeds.
		ok   func(at time.Duration) bool
		want []string
	}{
		{"healthy soon", sdk.Check{}, 0, 0, func(at time.Duration) bool { return at >= 300*time.Millisecond }, []string{"350ms healthy"}},
		{"no failure counts within the delay", sdk.Check{Delay: 10_000, Interval: 1000}, 0, 0,
			func(at time.Duration) bool { return at > 9*time.Second }, []string{"9.55s healthy"}},
		{"never up", sdk.Check{Delay: 10_000, Interval: 1000, Failures: 3}, 0, 0,
			func(time.Duration) bool { return false }, []string{"12.55s unhealthy"}},
		{"success ends the delay", sdk.Check{Delay: 60_000, Interval: 1000, Failures: 2}, 0, 0,
			func(at time.Duration) bool { return at < 5*time.Second }, []string{"0s healthy", "6s unhealthy"}},
		{"one failure is forgiven", sdk.Check{Interval: 1000, Failures: 2}, 0, 0,
			func(at time.Duration) bool { return int(at/time.Second)%2 == 0 }, []string{"0s healthy"}},
		{"taken up again", sdk.Check{Interval: 1000, Failures: 2}, time.Hour, sdk.Healthy,
			func(time.Duration) bool { return false }, []string{"1s unhealthy"}},
		{"recovers", sdk.Check{Interval: 1000, Failures: 1}, time.Hour, 0,
			func(at time.Duration) bool { return at > 2*time.Second }, []string{"0s unhealthy", "3s healthy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var mu sync.Mutex
				var got []string
				r := New(4, nil, func(v Verdict) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, fmt.Sprintf("%v %v", time.Since(began), v.Health))
				})
				r.spread = func(d time.Duration) time.Duration { return d }
				r.try = func(context.Context, *Target, *sdk.Check) error {
					if tt.ok(time.Since(began)) {
						return nil
					}
					return errors.New("refused")
				}
				tt.check.TCP = tcp
				ctx, cancel := context.WithCancel(t.Context())
				go r.Run(ctx)
				r.Add(Target{Task: "t", Checks: []sdk.Check{tt.check}, Health: tt.had, Started: sdk.Time(began.Add(-tt.runs).UnixMilli())})
				time.Sleep(30 * time.Second)
				cancel()
				synctest.Wait()
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestSlowDoNotStarveFast: tasks that never answer, many more than there are
// workers, do not put off the check of one that does.
func TestSlowDoNotStarveFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		r := New(3, nil, func(Verdict) {})
		r.try = func(ctx context.Context, target *Target, _ *sdk.Check) error {
			if target.Task != "fast" {
				<-ctx.Done()
				return ctx.Err()
			}
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		r.Add(Target{Task: "fast", Checks: []sdk.Check{{TCP: tcp, Interval: sdk.Second}}})
		for i := range 500 {
			r.Add(Target{Task: sdk.TaskID(fmt.Sprint(i)), Checks: []sdk.Check{{TCP: tcp, Interval: sdk.Second}}, Started: sdk.Time(time.Now().UnixMilli())})
		}
		time.Sleep(5 * time.Minute)
		cancel()
		synctest.Wait()
		late := time.Duration(0)
		for i := 1; i < len(at); i++ {
			late = max(late, at[i].Sub(at[i-1])-time.Second)
		}
		// All of them are new once, and then each takes its quarter of a
		// second of a worker.
		if len(at) < 180 || late > 45*time.Second {
			t.Errorf("%d tries in 5 minutes, at worst %v late", len(at), late)
		}
	})
}

// TestReadiness: a readiness check that fails says so and no more, and is
// forgiven; one about health outweighs it.
func TestReadiness(t *testing.T) {
	s := &subject{said: sdk.Healthy, target: Target{Checks: []sdk.Check{{Name: "ready", Readiness: true}, {Name: "alive"}}},
		judges: []judge{{health: sdk.Healthy}, {health: sdk.Healthy}}}
	for _, step := range []struct{ ready, alive, want sdk.Health }{
		{sdk.Unhealthy, sdk.Healthy, sdk.Unready}, {sdk.Unhealthy, sdk.Unhealthy, sdk.Unhealthy},
		{sdk.Unhealthy, sdk.Healthy, sdk.Unready}, {sdk.Healthy, sdk.Healthy, sdk.Healthy},
	} {
		s.judges[0].health, s.judges[1].health = step.ready, step.alive
		if v, changed := s.verdict(); v.Health != step.want || !changed || (v.Message == "") != (step.want == sdk.Healthy) {
			t.Errorf("%v and %v: %+v, want %v", step.ready, step.alive, v, step.want)
		}
	}
}

func TestNoChecksIsHealthy(t *testing.T) {
	var got []Verdict
	New(1, nil, func(v Verdict) { got = append(got, v) }).Add(Target{Task: "t"})
	if len(got) != 1 || got[0].Health != sdk.Healthy {
		t.Errorf("%+v", got)
	}
}

// TestBounded: with more tasks than workers no more tries run than there are
// workers, and a removed task is tried no more.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most, after := 0, 0, 0
		removed := false
		r := New(3, nil, func(Verdict) {})
		r.waits = make(chan struct{}, 4)
		r.try = func(ctx context.Context, _ *Target, _ *sdk.Check) error {
			mu.Lock()
			running++
			most = max(most, running)
			if removed {
				after++
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		for i := range 20 {
			r.Add(Target{Task: sdk.TaskID(fmt.Sprint(i)), Checks: []sdk.Check{{TCP: tcp}, {TCP: tcp}}})
		}
		time.Sleep(time.Minute)
		for i := range 20 {
			r.Remove(sdk.TaskID(fmt.Sprint(i)))
		}
		synctest.Wait()
		mu.Lock()
		removed = true
		mu.Unlock()
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		if most != 3+4 {
			t.Errorf("%d tries at a time, want 3 and 4 that wait", most)
		}
		if after != 0 {
			t.Errorf("%d tries of removed tasks", after)
		}
	})
}

// TestGRPC asks a server of the health protocol that is only as much of one as
// there is on the wire.
func TestGRPC(t *testing.T) {
	answer := map[string]struct{ status, message string }{
		"": {"0", "\x08\x01"}, "off": {"0", "\x08\x02"}, "none": {"5", ""}, "odd": {"0", "\xff"},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		name := ""
		if len(body) > 7 {
			name = string(body[7:])
		}
		a := answer[name]
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		if a.message != "" {
			w.Write(append([]byte{0, 0, 0, 0, byte(len(a.message))}, a.message...))
		}
		w.Header().Set("Grpc-Status", a.status)
	})
	for _, secure := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Config.Protocols.SetHTTP2(true)
		if secure {
			srv.EnableHTTP2 = true
			srv.StartTLS()
		} else {
			srv.Start()
		}
		defer srv.Close()
		target := &Target{Host: "127.0.0.1", Ports: []sdk.PortBinding{{Name: "p", Port: uint16(srv.Listener.Addr().(*net.TCPAddr).Port)}}}
		for name, says := range map[string]string{"": "", "off": "NOT_SERVING", "none": "status \"5\"", "odd": "no health"} {
			err := tries{}.try(t.Context(), target, &sdk.Check{GRPC: &sdk.GRPCCheck{Port: "p", Service: name, TLS: secure}})
			if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%q, TLS %v: %v, want %q", name, secure, err, says)
			}
		}
	}
}

// TestHTTPS: a certificate counts only where a name for it is given.
func TestHTTPS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	target := &Target{Host: "127.0.0.1", Ports: []sdk.PortBinding{{Name: "p", Port: uint16(srv.Listener.Addr().(*net.TCPAddr).Port)}}}
	for name, says := range map[string]string{"": "", "example.com": "certificate"} {
		err := tries{}.try(t.Context(), target, &sdk.Check{HTTPS: &sdk.HTTPSCheck{Port: "p", Path: "/", ServerName: name}})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
	}
}

func TestCommand(t *testing.T) {
	r := tries{func(_ context.Context, id sdk.TaskID, command []string) (int32, error) {
		if command[0] == "/gone" {
			return 0, errors.New("not there")
		}
		return int32(len(command) - 1), nil
	}}
	for command, says := range map[string]string{"/ok": "", "/bad x": "exit code 1", "/gone": "not there"} {
		err := r.try(t.Context(), &Target{Task: "t"}, &sdk.Check{Command: &sdk.CommandCheck{Command: strings.Fields(command)}})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", command, err, says)
		}
	}
}

func TestTry(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/redirect":
			http.Redirect(w, r, "/bad", http.StatusFound)
		default:
			http.Error(w, "no", http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	port := uint16(srv.Listener.Addr().(*net.TCPAddr).Port)
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	dead := uint16(closed.Addr().(*net.TCPAddr).Port)
	closed.Close()
	target := &Target{Host: "127.0.0.1", Ports: []sdk.PortBinding{{Name: "p", Port: port}, {Name: "dead", Port: dead}}}
	for _, tt := range []struct {
		check sdk.Check
		says  string
	}{
		{sdk.Check{TCP: tcp}, ""},
		{sdk.Check{TCP: &sdk.TCPCheck{Port: "dead"}}, "refused"},
		{sdk.Check{TCP: &sdk.TCPCheck{Port: "none"}}, `no port "none"`},
		{sdk.Check{HTTP: &sdk.HTTPCheck{Port: "p", Path: "/ok"}}, ""},
		{sdk.Check{HTTP: &sdk.HTTPCheck{Port: "p", Path: "/redirect"}}, ""},
		{sdk.Check{HTTP: &sdk.HTTPCheck{Port: "p", Path: "/bad"}}, "500"},
	} {
		err := tries{}.try(t.Context(), target, &tt.check)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.check, err, tt.says)
		}
	}
}
