package fake

import (
	"context"
	"fmt"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

func TestLife(t *testing.T) {
	ctx := t.Context()
	r := &Runtime{}
	exits, err := r.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []sdk.TaskID{"b", "a"} {
		if err := r.Create(ctx, &isolation.Spec{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Create(ctx, &isolation.Spec{ID: "a"}); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("same id: %v", err)
	}
	r.Start(ctx, "a")
	if err := r.Start(ctx, "a"); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("started twice: %v", err)
	}
	if err := r.Remove(ctx, "a"); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("removed while running: %v", err)
	}
	if !r.Exit("a", 3) || r.Exit("a", 4) || r.Exit("c", 1) {
		t.Error("exits once, and only what is there")
	}
	if id := <-exits; id != "a" {
		t.Errorf("exit of %q", id)
	}
	list, _ := r.List(ctx)
	if len(list) != 2 || list[0].ID != "a" || list[0].State != isolation.Stopped || list[0].Exit.Code != 3 || list[1].State != isolation.Created {
		t.Errorf("%+v", list)
	}
	if err := r.Remove(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := r.Remove(ctx, "a"); err != nil {
		t.Errorf("removed again: %v", err)
	}
	want := "[create b create a create a start a start a remove a remove a remove a]"
	if got := fmt.Sprint(r.Calls()); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
}

func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		deaf bool
		sig  int
		want int32 // -1: goes on
	}{{false, 15, 143}, {true, 15, -1}, {true, 9, 137}, {false, 1, -1}} {
		r := &Runtime{Deaf: tt.deaf}
		r.Create(t.Context(), &isolation.Spec{ID: "a"})
		r.Start(t.Context(), "a")
		r.Signal(t.Context(), "a", tt.sig, false)
		list, _ := r.List(t.Context())
		got := int32(-1)
		if list[0].Exit != nil {
			got = list[0].Exit.Code
		}
		if got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

func TestCrash(t *testing.T) {
	r := &Runtime{}
	r.Create(t.Context(), &isolation.Spec{ID: "a"})
	r.Start(t.Context(), "a")
	exits, _ := r.Exits(t.Context())
	r.Crash()
	if _, ok := <-exits; ok {
		t.Error("the channel is open")
	}
	if _, err := r.List(t.Context()); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("list: %v", err)
	}
	r.ExitAs("a", isolation.Exit{})
	r.Recover()
	list, err := r.List(t.Context())
	if err != nil || list[0].State != isolation.Stopped || list[0].Exit.Known {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestExitsEndsWithContext(t *testing.T) {
	r := &Runtime{}
	ctx, cancel := context.WithCancel(t.Context())
	exits, _ := r.Exits(ctx)
	cancel()
	if _, ok := <-exits; ok {
		t.Error("the channel is open")
	}
}
