package check

import (
	"context"
	"errors"
	"fmt"
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
				r := New(4, func(v Verdict) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, fmt.Sprintf("%v %v", time.Since(began), v.Health))
				})
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

func TestNoChecksIsHealthy(t *testing.T) {
	var got []Verdict
	New(1, func(v Verdict) { got = append(got, v) }).Add(Target{Task: "t"})
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
		r := New(3, func(Verdict) {})
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
		if most != 3 {
			t.Errorf("%d tries at a time, want 3", most)
		}
		if after != 0 {
			t.Errorf("%d tries of removed tasks", after)
		}
	})
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
		err := try(t.Context(), target, &tt.check)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.check, err, tt.says)
		}
	}
}
