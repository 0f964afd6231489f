package schema

import (
	"fmt"
	"testing"
)

func TestProbe(t *testing.T) {
	s := New()
	var walk func(f Field, ind string)
	walk = func(f Field, ind string) {
		for _, c := range Children(f.Value) {
			fmt.Printf("%s%s pat=%v req=%v want=%q doc=%q\n", ind, c.Name, c.Pattern.Exists(), c.Required, Want(c.Value), c.Doc())
			walk(c, ind+"  ")
		}
	}
	walk(Field{Value: s.root}, "")
}
