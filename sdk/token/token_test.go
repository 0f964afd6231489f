package token

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestTokens(t *testing.T) {
	p := NewPerson()
	h, err := HashOf(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := HashOf(p + "\n"); again != h {
		t.Error("a line end changed the token")
	}
	if other, _ := HashOf(NewPerson()); other == h {
		t.Error("two tokens are the same")
	}
	j := Join{Secret: NewSecret(), CA: NewSecret()}
	if got, err := ParseJoin(j.String()); err != nil || got != j {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseJoin(p); sdk.KindOf(err) != sdk.Invalid {
		t.Errorf("a person's token joined: %v", err)
	}
}

// Every single mistyped character, and every cut, is noticed.
func TestMistyped(t *testing.T) {
	for _, good := range []string{NewPerson(), Join{Secret: NewSecret()}.String()} {
		read := func(s string) error {
			if strings.HasPrefix(s, joinPrefix) {
				_, err := ParseJoin(s)
				return err
			}
			_, err := HashOf(s)
			return err
		}
		for i := range good {
			c := byte('a')
			if good[i] == c {
				c = 'b'
			}
			if err := read(good[:i] + string(c) + good[i+1:]); sdk.KindOf(err) != sdk.Invalid {
				t.Errorf("character %d changed: %v", i, err)
			}
			if err := read(good[:i]); sdk.KindOf(err) != sdk.Invalid {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	}
}
