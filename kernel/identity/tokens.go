package identity

import (
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
)

// NewJoin makes a token to join that lives so long, for one use or, if
// reusable, for many.
func (a *Authority) NewJoin(life time.Duration, reusable bool) (string, error) {
	if life <= 0 {
		return "", sdk.Errorf(sdk.Invalid, "token", "a token to join must end some time")
	}
	j := token.Join{Secret: token.NewSecret(), CA: a.fingerprint()}
	err := a.change(func(r *record) error {
		r.Joins = append(r.Joins, joinRecord{Hash: j.Hash(), Expires: a.time().Add(sdk.Duration(life.Milliseconds())), Reusable: reusable})
		return nil
	})
	return j.String(), err
}

// useJoin accepts a token, and forgets it if it was for one use. Errors:
// Unauthenticated.
func (a *Authority) useJoin(s string) error {
	j, err := token.ParseJoin(s)
	if err != nil {
		var f *sdk.Fault
		if errors.As(err, &f) {
			f.Kind = sdk.Unauthenticated
		}
		return err
	}
	refused := sdk.Errorf(sdk.Unauthenticated, "token", "it is unknown, used, or too old").At("token").
		ToFix("ask an operator for a new token to join")
	if j.CA != a.fingerprint() {
		return refused.Because("it was made by another cluster")
	}
	hash := j.Hash()
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.rec.Joins, func(r joinRecord) bool { return subtle.ConstantTimeCompare(r.Hash[:], hash[:]) == 1 })
	if i < 0 || a.rec.Joins[i].Expires <= a.time() {
		return refused
	}
	if a.rec.Joins[i].Reusable {
		return nil
	}
	return a.changeLocked(func(r *record) error {
		r.Joins = slices.Delete(r.Joins, i, i+1)
		return nil
	})
}

// NewPerson makes a token for a person (or a program acting for one). life 0
// means until it is taken back by DropPerson.
func (a *Authority) NewPerson(who string, life time.Duration) (string, error) {
	if !sdk.ValidName(who) {
		return "", sdk.Errorf(sdk.Invalid, "token", "%q cannot be a person's name", who).ToFix("use a-z, 0-9 and hyphens")
	}
	s := token.NewPerson()
	hash, err := token.HashOf(s)
	if err != nil {
		return "", err
	}
	p := personRecord{Hash: hash, Name: who}
	if life > 0 {
		p.Expires = a.time().Add(sdk.Duration(life.Milliseconds()))
	}
	return s, a.change(func(r *record) error {
		r.People = append(r.People, p)
		return nil
	})
}

// Identify returns who holds a person's token.
func (a *Authority) Identify(secret string) (who string, ok bool) {
	hash, err := token.HashOf(secret)
	if err != nil {
		return "", false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.rec.People {
		if subtle.ConstantTimeCompare(p.Hash[:], hash[:]) == 1 && (p.Expires == 0 || p.Expires > a.time()) {
			return p.Name, true
		}
	}
	return "", false
}

// DropPerson takes all tokens of a person back. Errors: NotFound.
func (a *Authority) DropPerson(who string) error {
	return a.change(func(r *record) error {
		n := len(r.People)
		r.People = slices.DeleteFunc(r.People, func(p personRecord) bool { return p.Name == who })
		if len(r.People) == n {
			return sdk.Errorf(sdk.NotFound, "token", "%s has none", who)
		}
		return nil
	})
}

func (a *Authority) time() sdk.Time { return sdk.Time(a.now().UnixMilli()) }

// change makes a change durable, then visible. Tokens whose time is over go
// with the next change.
func (a *Authority) change(fn func(*record) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changeLocked(fn)
}

func (a *Authority) changeLocked(fn func(*record) error) error {
	next := *a.rec
	next.Joins, next.People = slices.Clone(next.Joins), slices.Clone(next.People)
	if err := fn(&next); err != nil {
		return err
	}
	now := a.time()
	next.Joins = slices.DeleteFunc(next.Joins, func(r joinRecord) bool { return r.Expires <= now })
	next.People = slices.DeleteFunc(next.People, func(p personRecord) bool { return p.Expires != 0 && p.Expires <= now })
	if err := next.save(a.path); err != nil {
		return err
	}
	a.rec = &next
	return nil
}
