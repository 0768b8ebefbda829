package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"serin/registry"
)

func sample() State {
	return State{
		KnownAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Catalog: catalog(2),
		Documents: map[string]Document{
			"":    {Key: "lb/canary", Value: []byte("{}"), Index: 1},
			"web": {Key: "lb/canary/web", Value: []byte("{\"ratio\": 0.5}\n"), Index: 1 << 60},
		},
		Secret:   "000102030405060708090a0b0c0d0e0f",
		Owners:   map[string]string{"shop.test/": "web"},
		Rollouts: map[string]json.RawMessage{"web": json.RawMessage(`{"v":1,"phase":"promoted"}`)},
		Keys: map[string][]Document{
			"lb/routes":    {{Key: "lb/routes", Value: []byte("route del web"), Index: 7}, {Key: "lb/routes/10-web", Index: 8}},
			"lb/ownership": nil,
		},
	}
}

func text(t testing.TB, s State) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSaveLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot.json")
	for _, s := range []State{sample(), {}} {
		if err := Save(path, s); err != nil {
			t.Fatal(err)
		}
		got, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.Catalog == nil {
			s.Catalog = registry.New()
		}
		if text(t, got) != text(t, s) {
			t.Errorf("\n got %s\nwant %s", text(t, got), text(t, s))
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v %v, want 0600", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files left behind: %v", files)
	}
}

func TestLoadRefusesEveryTruncationAndBitFlip(t *testing.T) {
	file, err := encodeState(sample())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeState(file); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(file) {
		t.Errorf("the file is not JSON: %s", file)
	}
	for n := range file {
		if _, err := decodeState(file[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(file))
		}
		for bit := range 8 {
			bad := bytes.Clone(file)
			bad[n] ^= 1 << bit
			if _, err := decodeState(bad); err == nil {
				t.Fatalf("bit %d of byte %d flipped is accepted", bit, n)
			}
		}
	}
	if _, err := decodeState(append(bytes.Clone(file), '\n')); err == nil {
		t.Error("one byte more is accepted")
	}
}

func TestLoadSaysWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	f := func(content, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Load(%.60q)\n got %v\nwant %s", content, err, want)
		}
	}
	f("", "it is not a state file of this program, or its beginning is damaged")
	f(`{"services":[]}`, "it is not a state file of this program, or its beginning is damaged")
	f(string(wrap(2, nil)), "it is of version 2, this program reads version 1")
	f(string(wrap(1, []byte("{}")))+"\n", "it is damaged: its 102 bytes do not have the checksum that it says")
	f(string(wrap(1, []byte("{"))), "it is not readable although its checksum is right: unexpected end of JSON input")
}

// FuzzDecodeState: no body panics, however its checksum came to be right.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"services":[null,null],"documents":{"web":null}}`))
	good, err := encodeState(sample())
	if err != nil {
		f.Fatal(err)
	}
	body, err := unwrap(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		decodeState(body)
		s, err := decodeState(wrap(stateVersion, body))
		if err != nil {
			return
		}
		if _, err := encodeState(s); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSaveKeepsTheOldFileWhenItFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot.json")
	if err := os.Mkdir(path, 0o700); err != nil { // a rename onto a directory fails, also for root
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, sample()); err == nil {
		t.Error("want an error")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files left behind: %v", files)
	}
	if err := Save(filepath.Join(dir, "missing", "x"), sample()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestAgeIsNeverNegative(t *testing.T) {
	s := sample()
	for d, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 0: 0, -time.Hour: 0} {
		if got := s.Age(s.KnownAt.Add(d)); got != want {
			t.Errorf("Age(%+v)\n got %v\nwant %v", d, got, want)
		}
	}
}

func TestSaver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot.json")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		known := sample()
		known.Catalog = nil
		s := &Saver{Path: path, State: known}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f := func(what string, wantTargets int, wantAt time.Duration) {
			t.Helper()
			synctest.Wait()
			st, err := Load(path)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			if got, at := st.Catalog.Instances(), st.KnownAt.Sub(start); got != wantTargets || at != wantAt || st.Secret != known.Secret || len(st.Documents) != 2 {
				t.Errorf("%s\n got %d at %v\nwant %d at %v, and all that was known", what, got, at, wantTargets, wantAt)
			}
		}
		synctest.Wait()
		if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing changed, but there is a file: %v", err)
		}
		s.SetCatalog(catalog(1))
		f("at once", 1, 0)
		time.Sleep(time.Second)
		s.SetCatalog(catalog(2))
		f("not so soon", 1, 0)
		s.SetCatalog(catalog(3))
		time.Sleep(2 * time.Second)
		f("later, the newest", 3, time.Second)
		time.Sleep(time.Minute)
		s.Confirm()
		time.Sleep(10 * time.Second)
		f("confirmed too soon to be worth a write", 3, time.Second)
		time.Sleep(time.Hour)
		s.Confirm()
		f("confirmed", 3, time.Hour+73*time.Second)
		s.SetCatalog(catalog(4))
		cancel()
		<-done
		f("at the end", 4, time.Hour+73*time.Second)
	})
}

func TestSaverKeepsKeysByPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot.json")
	s := &Saver{Path: path, State: sample()}
	before := s.State.Keys
	s.SetKeys("lb/routes", nil)
	s.SetKeys("fabio/config", []Document{{Key: "fabio/config", Value: []byte("route del shop"), Index: 9}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	st, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	keys := st.Keys["fabio/config"]
	if len(st.Keys) != 3 || len(st.Keys["lb/routes"]) != 0 || len(keys) != 1 || string(keys[0].Value) != "route del shop" || keys[0].Index != 9 {
		t.Errorf("keys on disk: %+v", st.Keys)
	}
	if len(before) != 2 || len(before["lb/routes"]) != 2 {
		t.Errorf("what a write under way may read was changed: %+v", before)
	}
}

func TestSaverSaysOnceThatItCannot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	synctest.Test(t, func(t *testing.T) {
		var log logText
		r := prometheus.NewRegistry()
		s := &Saver{
			Path: filepath.Join(dir, "snapshot.json"), Metrics: NewMetrics(r),
			Log: hclog.New(&hclog.LoggerOptions{Output: &log}),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := range 5 {
			s.SetCatalog(catalog(i))
			time.Sleep(4 * time.Second)
			synctest.Wait()
		}
		if n := strings.Count(log.String(), "[WARN]"); n != 1 || value(t, r, "lb_state_write_errors_total") != 5 {
			t.Errorf("%d warnings, %v failures counted:\n%s", n, value(t, r, "lb_state_write_errors_total"), &log)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st, err := Load(s.Path); err != nil || st.Catalog.Instances() != 4 || !strings.Contains(log.String(), "again") {
			t.Errorf("it must try again by itself: %v\n%s", err, &log)
		}
		cancel()
		<-done
	})
}
