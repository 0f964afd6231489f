package account

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// TestRoleRules plays testdata/roles/*.txt. A line declares a role, as in
// "eng/web guarantee=cpus:2 limit=cpus:4,tapes:1", and ends, after "!", in what
// the fault must say when it must be refused. A refused declaration must leave
// no trace.
func TestRoleRules(t *testing.T) {
	files, err := filepath.Glob("testdata/roles/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			l := New()
			in := bufio.NewScanner(f)
			for n := 1; in.Scan(); n++ {
				if line := in.Text(); line != "" && line[0] != '#' {
					declare(t, l, name+":"+strconv.Itoa(n), line)
				}
			}
		})
	}
}

func declare(t *testing.T, l *Ledger, at, line string) {
	line, refusal, refused := strings.Cut(line, " ! ")
	words := strings.Fields(line)
	r := sdk.Role{Path: sdk.RolePath(words[0]), Weight: 1000}
	for _, w := range words[1:] {
		key, list, _ := strings.Cut(w, "=")
		var q sdk.Resources
		for _, x := range strings.Split(list, ",") {
			res, value, _ := strings.Cut(x, ":")
			v, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			q = append(q, sdk.Quantity{Name: res, Value: v * 1000})
		}
		switch key {
		case "guarantee":
			r.Guarantee = q
		case "limit":
			r.Limit = q
		default:
			t.Fatalf("%s: no such word: %s", at, key)
		}
	}
	before := l.RoleAccount(l.Role(r.Path))
	err := l.SetRole(r)
	switch {
	case !refused && err != nil:
		t.Errorf("%s: refused: %v", at, err)
	case refused && err == nil:
		t.Errorf("%s: accepted, should say %q", at, refusal)
	case refused:
		if sdk.KindOf(err) != sdk.Invalid || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: refused as %s: %v; should say %q", at, sdk.KindOf(err), err, refusal)
		}
		if after := l.RoleAccount(l.Role(r.Path)); !same(before.Guarantee, after.Guarantee) || !same(before.Limit, after.Limit) {
			t.Errorf("%s: refused, and changed all the same", at)
		}
	}
}

// same compares bounds; resources learned meanwhile do not count.
func same(a, b Vector) bool {
	for d := range min(len(a), len(b)) {
		if a[d] != b[d] {
			return false
		}
	}
	return (a == nil) == (b == nil)
}
