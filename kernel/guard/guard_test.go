package guard

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, object string
		want            bool
	}{
		{"**", "documents/service/web", true},
		{"**", "documents", true},
		{"documents/**", "documents/service/web", true},
		{"documents/**", "documents", true},
		{"documents/**", "documents2/service", false},
		{"documents/service/app", "documents/service/app", true},
		{"documents/service/app", "documents/service/app2", false},
		{"documents/service/app", "documents/service/app/x", false},
		{"documents/service/app/x", "documents/service/app", false},
		{"documents/*/web", "documents/service/web", true},
		{"documents/*/web", "documents//web", false},
		{"documents/*", "documents/service/web", false},
		{"roles/eng/**", "roles/eng", true},
		{"roles/eng/**", "roles/eng/web", true},
		{"roles/eng/**", "roles/engine", false},
	} {
		if got := match(c.pattern, c.object); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.object, got)
		}
	}
}

func TestNothingIsAllowedWithoutAGrant(t *testing.T) {
	var g Guard
	if g.Allow("admin", "read", "nodes") == nil {
		t.Error("the zero guard allowed something")
	}
	s := New(Standard()...)
	if err := s.Allow("admin", "apply", "documents/service/web"); err != nil {
		t.Error(err)
	}
	err := s.Allow("reader", "apply", "documents/service/web")
	if sdk.KindOf(err) != sdk.Denied || !strings.Contains(err.Error(), `"apply"`) {
		t.Errorf("reader may apply, or the refusal does not say why: %v", err)
	}
	if s.Allow("", "read", "nodes") == nil {
		t.Error("somebody unknown may read")
	}
}
