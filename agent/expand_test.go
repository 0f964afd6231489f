package agent

import "testing"

func TestExpand(t *testing.T) {
	env := []string{"PORT_HTTP=20001", "PORT0=20001", "HOST=10.0.0.1", "SECRET=x", "DRUPE_TASK=web.4"}
	for in, want := range map[string]string{
		"plain":                          "plain",
		"--port=$(PORT_HTTP)":            "--port=20001",
		"$(HOST):$(PORT0)/$(DRUPE_TASK)": "10.0.0.1:20001/web.4",
		"$(SECRET)":                      "$(SECRET)",
		"$(PORT_NONE)":                   "$(PORT_NONE)",
		"$$(PORT_HTTP)":                  "$(PORT_HTTP)",
		"$(PORT_HTTP":                    "$(PORT_HTTP",
		"$(date) $(PORT0)":               "$(date) 20001",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}
