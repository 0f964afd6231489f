package main

import (
	"net/http/httptest"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Setenv("DRUPE_TASK", "hello.1")
	t.Setenv("DRUPE_NODE", "n1")
	h := logged(routes())
	for _, c := range []struct {
		path string
		code int
		body string
	}{
		{"/", 200, "hello from hello.1 on n1\n"},
		{"/healthz", 200, "well\n"},
		{"/eat?mb=2", 200, "ate 2 MiB, 2 in all\n"},
		{"/eat?mb=1", 200, "ate 1 MiB, 3 in all\n"},
		{"/eat?mb=all", 400, "mb=\"all\" is not a number from 1 to 65536\n"},
		{"/nowhere", 404, "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, w.Code, w.Body, c.code, c.body)
		}
	}
}
