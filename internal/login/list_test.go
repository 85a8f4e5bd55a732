package login

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"doorward/internal/oauth"
)

func TestSessionsOfAPerson(t *testing.T) {
	w := newWorld(t, "https://as.example", true)
	ctx := context.Background()
	first, cookies := w.start(t)
	w.clock = w.clock.Add(time.Hour)
	second, _ := w.start(t)
	if _, err := w.Start(ctx, httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/login", nil), oauth.Subject{ID: "bob"}); err != nil {
		t.Fatal(err)
	}
	list, err := w.Of(ctx, "alice")
	if err != nil || len(list) != 2 || list[0].ID != second.ID || list[1].ID != first.ID || !list[1].Created.Equal(first.Created) {
		t.Fatalf("%+v %v", list, err)
	}
	for name, end := range map[string][2]string{"another person's": {"bob", first.ID}, "unknown": {"alice", "x"}, "none": {"alice", ""}} {
		if ended, err := w.EndOf(ctx, end[0], end[1]); ended || err != nil {
			t.Errorf("%s: %t %v", name, ended, err)
		}
	}
	if _, ok, _ := w.From(ctx, request(cookies...)); !ok {
		t.Fatal("the session ended by what did not name it")
	}
	if ended, err := w.EndOf(ctx, "alice", first.ID); !ended || err != nil {
		t.Fatalf("%t %v", ended, err)
	}
	if _, ok, _ := w.From(ctx, request(cookies...)); ok {
		t.Error("the session lives on")
	}
	w.clock = w.clock.Add(Lifetime)
	if list, err := w.Of(ctx, "alice"); len(list) != 0 || err != nil {
		t.Errorf("after their time: %+v %v", list, err)
	}
}
