package canary

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFileSource looks at a file as it is written, renamed into place, kept in
// size and time, removed, and no file at all.
func TestFileSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.json")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	write := func(to, text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, at, at); err != nil {
			t.Fatal(err)
		}
	}
	r := fileReader{path: path}
	f := func(want, wantErr string) {
		t.Helper()
		doc, there, err := r.ask(t.Context())
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) || there {
				t.Errorf("%s %v %v, want %s", doc.Value, there, err, wantErr)
			}
			return
		}
		if err != nil || !there || string(doc.Value) != want || doc.Key != "file:"+path || doc.Index == 0 {
			t.Errorf("%s %s@%d %v %v, want %s", doc.Key, doc.Value, doc.Index, there, err, want)
		}
	}
	f("", "no such file")
	write(path, `{"ratio":0.1}`, old)
	f(`{"ratio":0.1}`, "")
	was := r.doc.Index
	write(path, `{"ratio":0.2}`, old.Add(time.Second))
	f(`{"ratio":0.2}`, "")
	if r.doc.Index <= was {
		t.Errorf("index %d after %d", r.doc.Index, was)
	}
	// Renamed into place, with the same size and time: another file all the same.
	write(path+".new", `{"ratio":0.3}`, old.Add(time.Second))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	f(`{"ratio":0.3}`, "")
	// Touched: the same text is the same version.
	was = r.doc.Index
	write(path, `{"ratio":0.3}`, old.Add(time.Minute))
	if f(`{"ratio":0.3}`, ""); r.doc.Index != was {
		t.Errorf("index %d, was %d", r.doc.Index, was)
	}
	// Written twice within the clock's tick: it is too young to be believed.
	now := time.Now()
	write(path, `{"ratio":0.4}`, now)
	f(`{"ratio":0.4}`, "")
	write(path, `{"ratio":0.5}`, now)
	f(`{"ratio":0.5}`, "")
	write(path, strings.Repeat(" ", MaxSize+5), old)
	f(strings.Repeat(" ", MaxSize+1), "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f("", "no such file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	f("", "it is no regular file")
}

func TestFileSourceRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.json")
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan Event)
	done := make(chan error, 1)
	go func() {
		done <- (&FileSource{Path: path, Every: time.Millisecond}).Run(ctx, func(ev Event) {
			select {
			case events <- ev:
			case <-ctx.Done():
			}
		})
	}()
	if ev := <-events; ev.Err == nil || len(ev.Docs) != 0 {
		t.Errorf("of no file: %+v", ev)
	}
	if err := os.WriteFile(path, []byte(`{"ratio":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.Err == nil && string(ev.Docs[""].Value) == `{"ratio":1}` {
			break
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.Err != nil { // what was known stays
			if string(ev.Docs[""].Value) != `{"ratio":1}` {
				t.Errorf("lost with %+v", ev.Docs)
			}
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A pipe that comes to the path between a look and its opening is not waited for,
// or the source would not end when it is asked to.
func TestFileSourceWaitsForNoPipe(t *testing.T) {
	dir := t.TempDir()
	path, pipe, plain := filepath.Join(dir, "web.json"), filepath.Join(dir, "pipe"), filepath.Join(dir, "plain")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		for i := range 10_000 {
			from := plain
			if i%2 == 0 {
				from = pipe
			}
			if os.Link(from, path+".new") != nil || os.Rename(path+".new", path) != nil {
				return
			}
		}
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			select {
			case <-swapped:
				return
			default:
				r := fileReader{path: path}
				_, _ = r.read()
			}
		}
	}()
	select {
	case <-read:
	case <-time.After(20 * time.Second):
		t.Error("it waits for a pipe")
		if f, err := os.OpenFile(pipe, os.O_RDWR, 0); err == nil {
			f.Close()
		}
		<-read
	}
	<-swapped
}
